"""Several nonnegative quadratic problems with one matrix, solved side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dgemm
from scipy.linalg.lapack import dposv, dpotrf, dtrtri

from mtl_methods.solvers._gram import EPSILON, Vector
from mtl_methods.solvers._nonnegative import (
    Mask,
    active_set,
    minimise_nonnegative,
    semidefinite,
)

__all__ = ["minimise_nonnegative_rows"]

_FEW = 8
"""Size up to which problems are solved one by one: a first guess costs more than it saves."""

_REGULAR = 1e-9
"""What every pivot of independent gradients exceeds."""

_COARSE = 64.0
"""Multiple of the precision below which a pivot may be noise."""

_STEPS_REGULAR: tuple[int, ...] = (8, 8, 8, 64)
"""Splitting steps of the rounds for independent gradients."""

_STEPS_DEPENDENT: tuple[int, ...] = (16, 16, 24, 32, 48)
"""The same for dependent ones."""

_PENALTY = 0.2
"""First penalty of these steps for dependent gradients."""

_CHANGE = 10.0
"""Largest factor between the penalties of two rounds; one that is reached has not settled."""

_RELAXATION = 1.8
"""Their relaxation; 1 is none, 2 is the Peaceman-Rachford splitting."""

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

    def keep(self, mask: Mask) -> None:
        """Drops the problems outside a mask, shape (r,)."""
        self.numbers, self.linear = self.numbers[mask], self.linear[mask]
        self.sizes, self.state = self.sizes[mask], self.state[mask]
        self.points, self.free = self.points[mask], self.free[mask]


def minimise_nonnegative_rows(
    matrix: Vector, origin: Vector, precision: float = EPSILON
) -> tuple[Vector, int]:
    """Minimise ``1/2 y'Hy - b'y`` over ``y >= 0`` for several ``b = -H u`` at once.

    A few splitting steps (one product of all problems with one matrix each) lead close to the
    minimisers; the linear systems on the supports found there are solved together, which
    finishes most problems. The others exchange the indices that violate their sign conditions,
    after more steps where they are many. The last few go to :func:`active_set` from where they
    stand.

    The steps' penalty decides how far they come. Where H is regular it is ``(det H)^(1/K)``, the
    geometric mean of its curvatures; otherwise it follows the curvature that the last step met,
    the change of the slopes over that of the points.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, unit diagonal, shape (K, K).
        origin: One u a row, shape (R, K).
        precision: Accuracy of H's entries, see :func:`semidefinite`.

    Returns:
        The minimisers, shape (R, K), and the number of linear systems solved.

    Source:
        The splitting is that of P.-L. Lions and B. Mercier, "Splitting algorithms for the sum of
        two nonlinear operators", 1979, for the quadratic and the orthant.
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
    rounds, penalty = _STEPS_DEPENDENT, _PENALTY
    if pivots is not None:
        rounds, penalty = _STEPS_REGULAR, math.exp(float(np.log(pivots).mean()))
    for number, steps in enumerate(rounds):
        penalty, settled = _split(matrix, rows, steps, penalty, first=not number)
        last = number == len(rounds) - 1
        if not last and (not settled or (pivots is None and not number)):
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
    factor, info = dpotrf(matrix)
    if info:
        return None
    pivots: Vector = factor.diagonal() ** 2
    return pivots if float(pivots.min()) > _REGULAR else None


def _split(
    matrix: Vector, rows: _Rows, steps: int, penalty: float, *, first: bool
) -> tuple[float, bool]:
    """Take splitting steps: one product with ``(H + ρ)^-1`` each.

    With the point ``max(h, 0)`` and the slope ``ρ max(-h, 0)`` packed in h, a step is
    ``h <- α (H + ρ)^-1 (b + ρ |h|) - α |h| / 2 + (1 - α / 2) h``.

    Returns:
        The penalty ρ for the next steps, for which h is left, and whether the curvature that it
        is was met rather than bounded.
    """
    size = matrix.shape[0]
    system = matrix.copy()
    system.ravel()[:: size + 1] += penalty
    factor, info = dpotrf(system, 1)
    while info:
        system.ravel()[:: size + 1] += 9.0 * penalty
        penalty *= 10.0
        factor, info = dpotrf(system, 1)
    root, _ = dtrtri(factor, 1)
    turn = (_RELAXATION * root.T) @ root
    constant = rows.linear @ turn
    turn *= penalty
    turn.ravel()[:: size + 1] -= 0.5 * _RELAXATION
    state = constant.copy() if first else rows.state
    size_of = np.empty_like(state)
    columns, columns_of = state.T, size_of.T
    rest = 1.0 - 0.5 * _RELAXATION
    for step in range(steps):
        if step == steps - 1:
            last = state.copy()
        np.abs(state, out=size_of)
        dgemm(1.0, turn, columns_of, rest, columns, 0, 0, 1)  # writes to state
        state += constant
    rows.points = np.maximum(state, 0.0)
    rows.free = state > 0.0
    slopes = np.minimum(state, 0.0)
    moved = float(np.linalg.norm(rows.points - np.maximum(last, 0.0)))
    turned = float(np.linalg.norm(slopes - np.minimum(last, 0.0)))
    ratio = turned / moved if moved > 0.0 and turned > 0.0 else 1.0
    change = min(max(ratio, 1.0 / _CHANGE), _CHANGE)
    rows.state = rows.points + slopes / change
    return penalty * change, change == ratio


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
    slope = target @ matrix - rows.linear
    bound = _ROUNDED * (np.abs(target).sum(axis=1) + rows.sizes)[:, None]
    inside = (target < 0.0) | (np.abs(slope) > bound)
    wrong = np.where(free, inside, slope < -bound).any(axis=1)
    found[rows.numbers] = target
    rows.free = np.where(free, target > 0.0, slope < -bound)
    stays = (target >= 0.0).all(axis=1)
    rows.points[stays] = target[stays]
    rows.keep(wrong)


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
                _, solved, _ = dposv(block, right[members].take(index, 1).T)
                found[np.ix_(members, index)] = solved.T
        return found
    columns, values = free.nonzero()[1], right[free]
    ends = free.sum(axis=1).cumsum().tolist()
    parts, begin = [], 0
    for end in ends:
        if end > begin:
            index = columns[begin:end]
            block = system.take(index, 0).take(index, 1)
            parts.append(dposv(block.T, values[begin:end], 0, 1, 1)[1])
        begin = end
    if parts:
        found[free] = np.concatenate(parts)
    return found
