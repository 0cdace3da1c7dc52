"""Points of the simplex for the weight sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from sweeps.definition.spaces import simplex_weights
from sweeps.definition.study import WeightSweep
from sweeps.errors import StudyError

__all__ = ["lattice", "sobol", "weight_points"]

_MAX_POINTS = 100_000
# Weights, summing to 1, that differ by less are the same point; labels show six decimals.
_SAME = 1e-6


def weight_points(sweep: WeightSweep, tasks: Sequence[str], seed: int) -> list[Mapping[str, float]]:
    """The weights of a sweep: by task, positive, summing to 1.

    Args:
        sweep: The section of the study: a number of points and a design, or the points.
        tasks: The K tasks.
        seed: Seed of a random design.

    Raises:
        StudyError: If the number or a point does not fit the tasks; names what does.
    """
    if isinstance(sweep.points, list):
        points = [_given(point, index, tasks) for index, point in enumerate(sweep.points)]
        _check_distinct(points, sweep.points)
    elif sweep.points < 1 or sweep.points > _MAX_POINTS:
        raise StudyError(f"weight_sweep.points: {sweep.points} is not between 1 and {_MAX_POINTS}")
    elif len(tasks) == 1:
        points = [[1.0]]
    elif sweep.design == "sobol":
        points = sobol(len(tasks), sweep.points, seed)
    else:
        points = lattice(len(tasks), sweep.points)
    return [dict(zip(tasks, point, strict=True)) for point in points]


def _given(point: Sequence[float], index: int, tasks: Sequence[str]) -> list[float]:
    place = f"weight_sweep.points.{index}"
    if len(point) != len(tasks):
        raise StudyError(
            f"{place}: {point} has {len(point)} weights, not one for each of {', '.join(tasks)}"
        )
    if any(not math.isfinite(weight) or weight < 0 for weight in point) or not any(point):
        raise StudyError(f"{place}: {point} must be finite weights >= 0, not all 0")
    total = math.fsum(point)
    return [weight / total for weight in point]


def _check_distinct(points: Sequence[Sequence[float]], given: Sequence[Sequence[float]]) -> None:
    """Refuses two points that are one: only the proportions of a point's weights count."""
    order = sorted(range(len(points)), key=lambda index: (points[index], index))
    for before, after in itertools.pairwise(order):
        same = all(abs(a - b) < _SAME for a, b in zip(points[before], points[after], strict=True))
        if same:
            first, second = sorted((before, after))
            raise StudyError(
                f"weight_sweep.points.{second}: {given[second]} is {given[first]} "
                f"(weight_sweep.points.{first}) again, because weights are normalised to sum 1"
            )


def lattice(tasks: int, points: int) -> list[list[float]]:
    """The interior of a simplex lattice (Das and Dennis 1998): all ``(a_1, ..., a_K) / H``.

    The ``a_k`` are positive integers that sum to H, which makes ``C(H-1, K-1)`` points; for two
    tasks the points ``1/(n+1), ..., n/(n+1)``.

    Args:
        tasks: K.
        points: How many; a size that a lattice over K tasks has.

    Raises:
        StudyError: If no lattice has so many points; names the nearest sizes.
    """
    divisions = tasks
    while math.comb(divisions - 1, tasks - 1) < points:
        divisions += 1
    size = math.comb(divisions - 1, tasks - 1)
    if size != points:
        smaller = math.comb(divisions - 2, tasks - 1)
        raise StudyError(
            f"weight_sweep.points: a lattice over {tasks} tasks has {smaller} or {size} points, "
            f"not {points}; take one of these, 'design: sobol', or a list of points"
        )
    return [[part / divisions for part in parts] for parts in _compositions(divisions, tasks)]


def _compositions(total: int, parts: int) -> Iterator[list[int]]:
    """All ways to write a number as an ordered sum of positive integers."""
    for cuts in itertools.combinations(range(1, total), parts - 1):
        ends = (0, *cuts, total)
        yield [after - before for before, after in itertools.pairwise(ends)]


def sobol(tasks: int, points: int, seed: int) -> list[list[float]]:
    """Scrambled Sobol points, mapped to the simplex by normalised ``-log u``.

    Args:
        tasks: K.
        points: How many.
        seed: Seed of the scrambling.
    """
    from scipy.stats import qmc

    engine = qmc.Sobol(tasks, seed=seed)
    uniforms = engine.random_base2(math.ceil(math.log2(max(points, 2))))[:points]
    low, high = 1e-6, 1.0 - 1e-6
    return [
        [weight / tasks for weight in simplex_weights([min(max(u, low), high) for u in row])]
        for row in uniforms.tolist()
    ]
