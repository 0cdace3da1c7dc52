"""Several nonnegative quadratic problems with one matrix, solved side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf

from mtl_methods.solvers._gram import EPSILON, Vector, solve_definite
from mtl_methods.solvers._nonnegative import (
    Mask,
    active_set,
    minimise_nonnegative,
    semidefinite,
)
from mtl_methods.solvers._splitting import PENALTY, split

__all__ = ["minimise_nonnegative_rows"]

_FEW = 8
"""Size up to which problems are solved one by one: a first guess costs more than it saves."""

_REGULAR = 1e-9
"""What every pivot of independent gradients exceeds."""

_COARSE = 64.0
"""Multiple of the precision below which a pivot may be noise."""

_STEPS_REGULAR: tuple[int, ...] = (8, 8, 48)
"""Splitting steps of the rounds for independent gradients."""

_STEPS_DEPENDENT: tuple[int, ...] = (16, 16, 24, 32, 48)
"""The same for dependent ones."""

_EXCHANGES = 8
"""Largest number of solves on supports after a round of steps."""

_REST = 2
"""Unfinished problems that are not worth more steps."""

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
    geometric mean of its curvatures; otherwise it follows the curvature that the last step met,
    the change of the slopes over that of the points.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, unit diagonal, shape (K, K).
        origin: One u a row, shape (R, K).
        precision: Accuracy of H's entries, see :func:`semidefinite`.

    Returns:
        The minimisers, shape (R, K), and the number of linear systems solved.
    """
    count, size = origin.shape
    scale = np.abs(origin).max(axis=1, keepdims=True)
    scale[scale == 0.0] = 1.0
    unit = origin / scale
    linear = -(unit @ matrix)
    found = np.zeros((count, size))
    (numbers,) = (linear > 0.0).any(axis=1).nonzero()
    solved = 0
    if size <= _FEW or numbers.size == 1:
        for row in numbers.tolist():
            guess = linear[row] > 0.0
            minimum = minimise_nonnegative(matrix, linear[row], guess, precision=precision)
            found[row] = minimum.point
            solved += minimum.iterations
        return found * scale, solved
    if not numbers.size:
        return found, 0
    pivots = _pivots(matrix)
    if pivots is None or float(pivots.min()) <= _COARSE * precision:
        matrix = semidefinite(matrix, precision)
        pivots = _pivots(matrix)
        linear = -(unit @ matrix)
    linear = linear[numbers]
    sizes = np.abs(unit[numbers]).sum(axis=1)
    rows = _Rows(numbers, linear, sizes, linear, linear, linear > 0.0)
    rounds, penalty = _STEPS_DEPENDENT, PENALTY
    if pivots is not None:
        rounds, penalty = _STEPS_REGULAR, math.exp(float(np.log(pivots).mean()))
    for number, steps in enumerate(rounds):
        state = rows.state if number else None
        rows.state, penalty, settled = split(matrix, rows.linear, state, steps, penalty)
        rows.points, rows.free = np.maximum(rows.state, 0.0), rows.state > 0.0
        last = number == len(rounds) - 1
        if not number:
            fitted = settled and pivots is not None
        # After steps with a penalty that did not fit, the supports are not worth trying.
        if not last and not (settled and (fitted or (number and pivots is None))):
            continue
        for exchange in range(_EXCHANGES):
            before = rows.numbers.size
            solved += before
            _solve_on_supports(matrix, rows, found)
            if not rows.numbers.size:
                return found * scale, solved
            slow = 2 * rows.numbers.size > before
            if (not last and slow and rows.numbers.size > _REST) or (
                exchange > 1 and rows.numbers.size == before
            ):
                break
        if rows.numbers.size <= _REST:
            break
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
    return found * scale, solved


def _pivots(matrix: Vector) -> Vector | None:
    """Return the pivots of a regular matrix, or nothing if it is none."""
    factor, info = dpotrf(matrix.T, 1)
    if info:
        return None
    pivots: Vector = factor.diagonal() ** 2
    return pivots if float(pivots.min()) > _REGULAR else None


def _solve_on_supports(matrix: Vector, rows: _Rows, found: Vector) -> None:
    """Minimise on the supports and drop the problems that this solves.

    The others exchange every index that violates its sign condition for the next time.
    """
    free = rows.free
    points = rows.points * free
    right = rows.linear - points @ matrix
    system = matrix.copy()
    system.ravel()[:: matrix.shape[0] + 1] += _PROXIMITY
    target = points + _changes(system, right, free)
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
    if left.size < target.shape[0]:
        rows.keep(left)
        target, wrong, free = target[left], wrong[left], free[left]
    # Those whose sign is wrong change sides; a slope on the support is a matter of rounding.
    rows.free = np.where(free, target > 0.0, wrong)
    stays = (target >= 0.0).all(axis=1)
    rows.points[stays] = target[stays]


def _changes(system: Vector, right: Vector, free: Mask) -> Vector:
    """Solve one linear system a row on its support; systems of one matrix are solved at once."""
    count, size = free.shape
    found = np.zeros((count, size))
    packed = free.tobytes()
    keys = [packed[first : first + size] for first in range(0, count * size, size)]
    if 2 * len(set(keys)) <= count:
        together: dict[bytes, list[int]] = {}
        for row, key in enumerate(keys):
            together.setdefault(key, []).append(row)
        for members in together.values():
            (index,) = free[members[0]].nonzero()
            if index.size:
                block = system.take(index, 0).take(index, 1)
                solved, _ = solve_definite(block, right[members].take(index, 1).T)
                found[np.ix_(members, index)] = solved.T
        return found
    places = free.ravel().nonzero()[0]
    columns, values = places % size, right.ravel().take(places)
    ends = places.searchsorted(np.arange(size, size * (count + 1), size)).tolist()
    parts, begin = [], 0
    for end in ends:
        if end > begin:
            index = columns[begin:end]
            block = system.take(index, 0).take(index, 1)
            parts.append(solve_definite(block, values[begin:end])[0])
        begin = end
    if parts:
        found.ravel()[places] = np.concatenate(parts)
    return found
