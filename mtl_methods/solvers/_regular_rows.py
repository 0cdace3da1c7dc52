"""Several nonnegative quadratic problems whose matrix is regular, as of independent gradients."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from mtl_methods.solvers._gram import Vector, least
from mtl_methods.solvers._rows import REST, ROUNDED, Rows, exchange_supports, finish
from mtl_methods.solvers._splitting import split_in_turn
from mtl_methods.solvers._supports import (
    distance_bound,
    inverse_of,
    solve_beside_supports,
    solve_by_series,
    solve_on_supports,
)

__all__ = ["minimise_regular_rows"]

_APART = 10.0
"""Factor between their geometric mean and every pivot from which they are of two scales."""

_ROUNDS = (8, 8, 48)
"""Splitting steps of the rounds."""

_SCALES = (8, 12, 8, 16)
"""Those that replace the first round's where H curves on two scales, see :func:`_parts`."""

_LARGE = 0.65
"""Share of the indices in the supports, on average, from which the systems on the rest, which take
the inverse of the matrix, cost less."""

_MANY, _NEAR = 24, 0.4
"""Number of problems from which, and distance of the matrix from the identity up to which, a series
costs less than a factorisation for each problem."""

_INVERTIBLE = 1e-7
"""Pivot down to which the inverse is accurate enough for them, after steps on two scales."""


def minimise_regular_rows(matrix: Vector, system: Vector, rows: Rows, pivots: Vector) -> int:
    """Minimise ``1/2 y'Hy - b'y`` over ``y >= 0`` for several b, H regular.

    The penalty of the first steps is ``(det H)^(1/K)``, the geometric mean of H's curvatures, or
    several in turn, see :func:`_parts`.

    Args:
        matrix: H, positive definite, unit diagonal, shape (K, K).
        system: H plus a multiple of the identity of the order of 1e-12.
        rows: All problems with a positive b; their minimisers are put in its ``found``.
        pivots: Those of H, shape (K,).

    Returns:
        The number of linear systems solved.
    """
    parts = _parts(pivots)
    scales = len(parts) > 1
    invertible = scales and least(pivots) > _INVERTIBLE
    on_supports = partial(solve_on_supports, system)
    if rows.numbers.size >= _MANY and least(pivots) > 1.0 - _NEAR:
        distance = np.eye(len(system)) - system
        if distance_bound(distance) <= _NEAR:
            on_supports = partial(solve_by_series, distance, 0.01 * ROUNDED * least(rows.sizes))
    solved = 0
    last = len(_ROUNDS) - 1
    for number in range(len(_ROUNDS)):
        state = rows.state if number else None
        rows.state, penalty, settled = split_in_turn(matrix, rows.linear, state, parts)
        rows.points, rows.free = np.maximum(rows.state, 0.0), rows.state > 0.0
        if not number:
            settled |= scales
            fitted = settled
        if number < last:
            parts = [(_ROUNDS[number + 1], penalty)]
        # After steps with a penalty that did not fit, the supports are not worth trying.
        if number < last and not (settled and fitted):
            continue
        solve = on_supports
        if invertible and np.count_nonzero(rows.free) > _LARGE * rows.free.size:
            solve = partial(solve_beside_supports, inverse_of(system))
        solved += exchange_supports(matrix, solve, rows, last=number == last)
        if rows.numbers.size <= REST:
            break
    return solved + finish(matrix, rows)


def _parts(pivots: Vector) -> list[tuple[int, float]]:
    """Return the steps and penalties of the first round with a regular matrix.

    The penalty is the geometric mean of the pivots where that is near some of them. Elsewhere the
    matrix curves on two scales, and steps with a penalty in between would take hundreds. There,
    steps with the large scale's mean settle the conflicts that show on it, steps with the small
    scale's settle how tasks that nearly cancel each other share the rest, and those between the
    two settle the differences within such groups: their points are as much smaller than the
    others as √(small / large), their slopes as small / large.
    """
    logarithms = np.log(pivots)
    total = float(logarithms.sum())
    mean = total / pivots.size
    if least(np.abs(logarithms - mean)) < math.log(_APART):
        return [(_ROUNDS[0], math.exp(mean))]
    below = logarithms < mean
    count, part = int(np.count_nonzero(below)), float(logarithms @ below)
    small, large = part / count, (total - part) / (pivots.size - count)
    middle = 0.5 * (small + large)
    levels = large, small, 0.5 * (small + middle), middle
    return [(steps, math.exp(x)) for steps, x in zip(_SCALES, levels, strict=True)]
