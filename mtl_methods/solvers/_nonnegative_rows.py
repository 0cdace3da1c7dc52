"""Several nonnegative quadratic problems with one matrix, solved side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf

from mtl_methods.solvers._gram import EPSILON, Vector, least
from mtl_methods.solvers._nonnegative import (
    Mask,
    active_set,
    minimise_nonnegative,
    semidefinite,
)
from mtl_methods.solvers._splitting import PENALTY, split_in_turn
from mtl_methods.solvers._stationary import minimise_stationary
from mtl_methods.solvers._supports import (
    inverse_of,
    solve_beside_supports,
    solve_on_supports,
)

__all__ = ["minimise_nonnegative_rows"]

_FEW = 8
"""Size up to which problems are solved one by one: a first guess costs more than it saves."""

_REGULAR = 1e-9
"""What every pivot of independent gradients exceeds."""

_COARSE = 64.0
"""Multiple of the precision below which a pivot may be noise."""

_APART = 10.0
"""Factor between their geometric mean and every pivot from which they are of two scales."""

_STEPS_REGULAR: tuple[int, ...] = (8, 8, 48)
"""Splitting steps of the rounds for independent gradients."""

_STEPS_SCALES: tuple[int, ...] = (8, 12, 8, 16)
"""Those that replace the first round's where they curve on two scales, see :func:`_parts`."""

_STEPS_DEPENDENT: tuple[int, ...] = (16, 16, 24, 32, 48)
"""Those of the rounds for dependent ones."""

_EXCHANGES = 8
"""Largest number of solves on supports after a round of steps."""

_REST = 2
"""Unfinished problems that are not worth more steps."""

_LARGE = 0.65
"""Share of the indices in the supports, on average, from which the systems on the rest, which take
the inverse of the matrix, cost less."""

_INVERTIBLE = 1e-7
"""Pivot down to which the inverse is accurate enough for them, after steps on two scales."""

_ROUNDED = 1e-13
"""Slope that counts as zero, relative to ``Σ|v_j|``."""

_PROXIMITY = 1e-12
"""Weight of the distance to the last point in a solve on a support."""


@dataclass
class _Rows:
    """The unfinished problems.

    Attributes:
        numbers: Which problems they are, shape (r,).
        linear: Their b, shape (r, K).
        sizes: ``Σ |u_j|``, shape (r,).
        state: The splitting's state h, shape (r, K); the point is ``max(h, 0)``.
        points: Feasible points near the minimisers, shape (r, K).
        free: Supports to try, shape (r, K), bool.
    """

    numbers: NDArray[np.intp]
    linear: Vector
    sizes: Vector
    state: Vector
    points: Vector
    free: Mask

    def keep(self, left: NDArray[np.intp]) -> None:
        """Drops the problems but these; their supports are set anew."""
        self.numbers, self.linear = self.numbers[left], self.linear[left]
        self.sizes, self.state = self.sizes[left], self.state[left]
        self.points = self.points[left]


def minimise_nonnegative_rows(
    matrix: Vector, origin: Vector, precision: float = EPSILON
) -> tuple[Vector, int]:
    """Minimise ``1/2 y'Hy - b'y`` over ``y >= 0`` for several ``b = -H u`` at once.

    A few splitting steps (:func:`split`: one product of all problems with one matrix each) lead
    close to the minimisers; the linear systems on the supports found there are solved together,
    which finishes most problems. The others exchange the indices that violate their sign
    conditions, after more steps where they are many. The last few go to :func:`active_set` from
    where they stand.

    The steps' penalty decides how far they come. Where H is regular it is ``(det H)^(1/K)``, the
    geometric mean of its curvatures, or several in turn (:func:`_parts`); otherwise it follows
    the curvature that the last step met, the change of the slopes over that of the points. Where
    a positive combination of dependent gradients is zero, :func:`minimise_stationary` finds it
    after the first steps and solves all problems with it.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, unit diagonal, shape (K, K).
        origin: One u a row, shape (R, K).
        precision: Accuracy of H's entries, see :func:`semidefinite`.

    Returns:
        The minimisers, shape (R, K), and the number of linear systems solved.
    """
    count, size = origin.shape
    magnitudes = np.abs(origin)
    scale = magnitudes.max(axis=1, keepdims=True)
    scale[scale == 0.0] = 1.0
    unit = origin / scale
    linear = -(unit @ matrix)
    found = np.zeros((count, size))
    (numbers,) = (linear > 0.0).any(axis=1).nonzero()
    solved = 0
    if size <= _FEW or numbers.size == 1:
        solved = numbers.size
        for row in _without_single(matrix, linear, numbers, found).tolist():
            solved -= 1
            guess = linear[row] > 0.0
            minimum = minimise_nonnegative(matrix, linear[row], guess, precision=precision)
            found[row] = minimum.point
            solved += minimum.iterations
        return found * scale, solved
    if not numbers.size:
        return found, 0
    pivots = _pivots(matrix)
    if pivots is None or least(pivots) <= _COARSE * precision:
        matrix = semidefinite(matrix, precision)
        pivots = _pivots(matrix)
        linear = -(unit @ matrix)
    linear = linear[numbers]
    sizes = magnitudes.sum(axis=1)[numbers] / scale[numbers, 0]
    rows = _Rows(numbers, linear, sizes, linear, linear, linear > 0.0)
    system = matrix.copy()
    system.ravel()[:: size + 1] += _PROXIMITY
    rounds, parts = _STEPS_DEPENDENT, [(_STEPS_DEPENDENT[0], PENALTY)]
    if pivots is not None:
        rounds, parts = _STEPS_REGULAR, _parts(pivots)
    scales = len(parts) > 1
    invertible = scales and pivots is not None and least(pivots) > _INVERTIBLE
    for number in range(len(rounds)):
        state = rows.state if number else None
        rows.state, penalty, settled = split_in_turn(matrix, rows.linear, state, parts)
        rows.points, rows.free = np.maximum(rows.state, 0.0), rows.state > 0.0
        last = number == len(rounds) - 1
        if not number:
            settled |= scales
            fitted = settled and pivots is not None
            if pivots is None:
                points, origin = rows.points, unit[numbers]
                minima = minimise_stationary(matrix, system, linear, points, origin, _ROUNDED)
                if minima is not None:
                    found[numbers] = minima
                    return found * scale, 1
        if not last:
            parts = [(rounds[number + 1], penalty)]
        # After steps with a penalty that did not fit, the supports are not worth trying.
        if not last and not (settled and (fitted or (number and pivots is None))):
            continue
        solve = partial(solve_on_supports, system)
        if invertible and np.count_nonzero(rows.free) > _LARGE * rows.free.size:
            solve = partial(solve_beside_supports, inverse_of(system))
        solved += _exchange_supports(matrix, solve, rows, found, last=last)
        if rows.numbers.size <= _REST:
            break
    solved += _finish(matrix, rows, found)
    return found * scale, solved


def _without_single(
    matrix: Vector, linear: Vector, numbers: NDArray[np.intp], found: Vector
) -> NDArray[np.intp]:
    """Solve the problems whose minimiser has one positive entry; return the others.

    It is ``b_j``, at the only positive b: at two tasks all problems of ``u >= 0`` are of this kind.

    Args:
        matrix: H.
        linear: One b a row, shape (R, K).
        numbers: The problems, each with a positive b, shape (r,).
        found: Where their minimisers are put.
    """
    right = linear[numbers]
    single = np.count_nonzero(right > 0.0, axis=1) == 1
    entries = right.argmax(axis=1)
    values = right.max(axis=1)
    single &= (matrix[entries] * values[:, None] >= right).all(axis=1)
    found[numbers[single], entries[single]] = values[single]
    others: NDArray[np.intp] = numbers[~single]
    return others


def _exchange_supports(
    matrix: Vector,
    solve: Callable[[Vector, Mask], Vector],
    rows: _Rows,
    found: Vector,
    *,
    last: bool,
) -> int:
    """Try supports until all problems are solved, or too few at a time; return the solves.

    Args:
        matrix: H.
        solve: From right sides and supports to solutions.
        rows: The unfinished problems; those that are solved leave it.
        found: Where their minimisers are put.
        last: Whether no more steps follow, so that slow exchanges are better than none.
    """
    solved = 0
    for exchange in range(_EXCHANGES):
        before = rows.numbers.size
        solved += before
        _try_supports(matrix, solve, rows, found)
        left = rows.numbers.size
        slow = not last and 2 * left > before and left > _REST
        stuck = exchange > 1 and left == before
        if not left or slow or stuck:
            break
    return solved


def _finish(matrix: Vector, rows: _Rows, found: Vector) -> int:
    """Solve each unfinished problem by itself from its point; return the systems solved."""
    solved = 0
    for position, row in enumerate(rows.numbers.tolist()):
        minimum = active_set(
            matrix,
            rows.linear[position],
            rows.points[position],
            limit=_ROUNDED,
            scale=float(rows.sizes[position]),
        )
        found[row] = minimum.point
        solved += minimum.iterations
    return solved


def _pivots(matrix: Vector) -> Vector | None:
    """Return the pivots of a regular matrix, or nothing if it is none."""
    factor, info = dpotrf(matrix.T, 1)
    if info:
        return None
    pivots: Vector = factor.diagonal() ** 2
    return pivots if least(pivots) > _REGULAR else None


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
        return [(_STEPS_REGULAR[0], math.exp(mean))]
    below = logarithms < mean
    count, part = int(np.count_nonzero(below)), float(logarithms @ below)
    small, large = part / count, (total - part) / (pivots.size - count)
    middle = 0.5 * (small + large)
    levels = large, small, 0.5 * (small + middle), middle
    return [(steps, math.exp(x)) for steps, x in zip(_STEPS_SCALES, levels, strict=True)]


def _try_supports(
    matrix: Vector, solve: Callable[[Vector, Mask], Vector], rows: _Rows, found: Vector
) -> None:
    """Minimise on the supports and drop the problems that this solves.

    The others exchange every index that violates its sign condition for the next time.
    """
    free = rows.free
    points = rows.points * free
    right = rows.linear - points @ matrix
    target = points + solve(right, free)
    slope = target @ matrix
    slope -= rows.linear
    bound = np.abs(target).sum(axis=1)
    bound += rows.sizes
    bound *= _ROUNDED
    wrong = np.abs(slope) > bound[:, None]
    wrong &= free | (slope < 0.0)
    wrong |= target < 0.0
    found[rows.numbers] = target
    (left,) = wrong.any(axis=1).nonzero()
    if not left.size:
        rows.numbers = left
        return
    if left.size < target.shape[0]:
        rows.keep(left)
        target, wrong, free = target[left], wrong[left], free[left]
    # Those whose sign is wrong change sides; a slope on the support is a matter of rounding.
    rows.free = np.where(free, target > 0.0, wrong)
    stays = (target >= 0.0).all(axis=1)
    rows.points[stays] = target[stays]
