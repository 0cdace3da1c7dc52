"""Searches whose points are known beforehand: every point of a small space, a grid, Sobol points.

The number-th point is a function of the space, the seed and the number alone, so that it depends
neither on results nor on the order in which trials end.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.definition.spaces import Dimension, Scalar, Space
from sweeps.definition.study import MAX_TRIALS, Sampler

__all__ = ["GRID_POINTS", "grid_points", "grid_size", "known_points", "point_key", "sobol_point"]

GRID_POINTS = 5
"""The number of values that a grid cuts a range into, unless the study says."""

Point = dict[str, Scalar]


def point_key(point: Mapping[str, Any]) -> str:
    """What tells two points apart."""
    return json.dumps(dict(point), sort_keys=True)


def known_points(
    space: Space, sampler: Sampler, trials: int | None, seed: int
) -> Sequence[Point] | None:
    """All points of a search that needs no sampler; ``None`` for one that does.

    A space with no more points than the budget is gone through once in full, whatever the
    sampler; a grid of the space if the sampler is ``grid``.

    Args:
        space: What is searched.
        sampler: How points are drawn.
        trials: The budget in configurations; ``None`` for one in seconds alone.
        seed: Of the order of a grid, which a budget in seconds may cut short.
    """
    budget = MAX_TRIALS if trials is None else trials
    size = space.size
    if size is not None and size <= budget:
        return list(space.grid())
    return grid_points(space, sampler, seed) if sampler.name == "grid" else None


# ------------------------------------------------------------------ grid


def grid_size(space: Space, sampler: Sampler) -> int:
    """The number of points of the grid of a space."""
    return math.prod(len(_levels(d, sampler.points or GRID_POINTS)) for d in space.dimensions())


def grid_points(space: Space, sampler: Sampler, seed: int) -> list[Point]:
    """The grid of a space, in an order drawn from the seed.

    Args:
        space: The space: lists of choices with all their values, ranges cut evenly (on the scale
            on which they are searched) from end to end.
        sampler: Says into how many values.
        seed: Of the order.
    """
    dimensions = space.dimensions()
    levels = [_levels(dimension, sampler.points or GRID_POINTS) for dimension in dimensions]
    points = [
        {d.name: value for d, value in zip(dimensions, values, strict=True)}
        for values in itertools.product(*levels)
    ]
    random.Random(seed).shuffle(points)
    return points


def _levels(dimension: Dimension, count: int) -> Sequence[Scalar]:
    if dimension.kind == "choice":
        return dimension.choices
    places = [index / (count - 1) for index in range(count)]
    return list(dict.fromkeys(_between(dimension, place) for place in places))


def _between(dimension: Dimension, place: float) -> float | int:
    """The number at a share of the way from the low to the high end of a range."""
    low, high = dimension.low, dimension.high
    if place in {0.0, 1.0}:
        number = high if place else low
    elif dimension.log:
        number = math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
    else:
        number = low + place * (high - low)
    number = min(max(number, low), high)
    return round(number) if dimension.kind == "int" else float(number)


# ------------------------------------------------------------------ quasi-random


def sobol_point(space: Space, seed: int, number: int) -> Point:
    """The number-th of the scrambled Sobol points over a space.

    Every dimension is one coordinate in [0, 1): a range is cut at its share (on a logarithmic
    scale where it is searched so), whole numbers and choices are bins of equal width.

    Args:
        space: The space.
        seed: Of the scrambling, the same for all points of a search.
        number: Counted from 0.

    Source: Owen, "Scrambling Sobol' and Niederreiter-Xing points", J. Complexity 14 (1998).
    """
    from scipy.stats import qmc

    dimensions = space.dimensions()
    engine = qmc.Sobol(len(dimensions), scramble=True, seed=seed)
    if number:
        engine.fast_forward(number)
    shares = engine.random(1)[0].tolist()
    return {d.name: _at(d, share) for d, share in zip(dimensions, shares, strict=True)}


def _at(dimension: Dimension, share: float) -> Scalar:
    if dimension.kind == "float":
        return _between(dimension, share)
    values = dimension.values()
    return values[min(int(share * len(values)), len(values) - 1)]
