"""Several nonnegative quadratic problems with one matrix, solved side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv, dpotrf, dpotrs

from mtl_methods.solvers._gram import EPSILON, Vector
from mtl_methods.solvers._nonnegative import (
    Mask,
    active_set,
    independent,
    limit_of,
    minimise_nonnegative,
    regularised,
)

__all__ = ["minimise_nonnegative_rows"]

_FEW = 8
"""Size up to which problems are solved one by one: a first guess costs more than it saves."""

_STEPS = (16, 48)
"""Splitting steps before the first and the second solve on the supports they lead to."""

_PENALTIES = (0.1, 0.03)
"""Penalty of these steps over the root of H's norm; small ones suit gradients that leave little
room."""

_RELAXATION = 1.8
"""Their relaxation; 1 is none, 2 is the Peaceman-Rachford splitting."""

_REST = 6
"""Unfinished problems that are not worth a second round of steps."""

_SHARE = 4
"""A vanishing combination is looked for if more than one in so many problems is unfinished."""

_ROUNDED = 1e-13
"""Slope that counts as zero on a support, relative to ``Σ|v_j|``."""

_NEAR = 3e-3
"""Squared norm of a convex combination of unit vectors from which a vanishing one is not near."""

_EXCHANGES = (2, 6)
"""Solves on supports after a round of steps, for dependent and for independent gradients."""

_VANISHING = 8.0
"""Multiple of the precision below which the squared norm of a combination is zero."""

_REFINEMENTS = 3
"""Solves with one factor in the closed form."""


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
    finishes most problems. The rest takes more steps, then goes to :func:`active_set` from where
    it stands, at a few exchanges each. Where many problems are left, gradients that leave no
    direction without conflict are the usual reason: a ``λ >= 0`` with ``Hλ = 0`` then solves
    those in closed form, see :func:`_by_vanishing`.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, unit diagonal, shape (K, K).
        origin: One u a row, shape (R, K).
        precision: Accuracy of H's entries.

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
    regular = regularised(matrix, precision)
    limit = max(_ROUNDED, limit_of(precision))
    proximity = 0.1 * np.sqrt(precision) if precision > 64.0 * EPSILON else 1e-12
    linear = linear[numbers]
    rows = _Rows(numbers, linear, np.abs(unit[numbers]).sum(axis=1), linear, linear, linear > 0.0)
    regular_enough = independent(matrix, precision)
    norm = float(np.abs(regular).sum(axis=1).max())
    for steps, penalty in zip(_STEPS, _PENALTIES, strict=True):
        _split(regular, rows, steps, penalty * math.sqrt(norm), first=steps == _STEPS[0])
        for _ in range(_EXCHANGES[regular_enough]):
            solved += rows.numbers.size
            _solve_on_supports(regular, rows, found, limit, proximity)
            if not rows.numbers.size:
                return found * scale, solved
        if rows.numbers.size <= _REST or regular_enough:
            break
    if rows.numbers.size > count // _SHARE and not regular_enough:
        solved += _by_vanishing(regular, rows, unit, found, max(limit, _VANISHING * precision))
    for position, row in enumerate(rows.numbers.tolist()):
        right, point = rows.linear[position], rows.points[position]
        if regular_enough:
            minimum = minimise_nonnegative(
                matrix, right, rows.free[position], point=point, precision=precision
            )
        else:
            size_of = float(rows.sizes[position])
            minimum = active_set(regular, right, point, limit=limit, scale=size_of)
        found[row] = minimum.point
        solved += minimum.iterations
    return found * scale, solved


def _split(matrix: Vector, rows: _Rows, steps: int, penalty: float, *, first: bool) -> None:
    """Take splitting steps: one product with ``(H + ρ)^-1`` each.

    With the point ``max(h, 0)`` and the slope ``ρ max(-h, 0)`` packed in h, a step is
    ``h <- α (H + ρ)^-1 (b + ρ |h|) - α |h| / 2 + (1 - α / 2) h``.
    """
    size = matrix.shape[0]
    system = matrix.copy()
    system.ravel()[:: size + 1] += penalty
    turn = _RELAXATION * np.linalg.inv(system)
    constant = rows.linear @ turn
    turn *= penalty
    turn.ravel()[:: size + 1] -= 0.5 * _RELAXATION
    state = constant.copy() if first else rows.state
    size_of, product = np.empty_like(state), np.empty_like(state)
    for _ in range(steps):
        np.abs(state, out=size_of)
        np.matmul(size_of, turn, out=product)
        state *= 1.0 - 0.5 * _RELAXATION
        state += product
        state += constant
    rows.state = state
    rows.points = np.maximum(state, 0.0)
    rows.free = state > 0.0


def _solve_on_supports(
    matrix: Vector, rows: _Rows, found: Vector, limit: float, proximity: float
) -> None:
    """Minimise on the supports and drop the problems that this solves.

    The others exchange every index that violates its sign condition for the next time.
    """
    points, free = rows.points, rows.free
    right = rows.linear - (points * free) @ matrix
    target = np.zeros_like(points)
    system = matrix.copy()
    system.ravel()[:: matrix.shape[0] + 1] += proximity
    for row, mask in enumerate(free):
        (index,) = mask.nonzero()
        if index.size:
            block = system.take(index, 0).take(index, 1)
            _, change, _ = dposv(block, right[row].take(index))
            target[row, index] = points[row].take(index) + change
    slope = target @ matrix - rows.linear
    bound = limit * (np.abs(target).sum(axis=1) + rows.sizes)[:, None]
    inside = (target < 0.0) | (np.abs(slope) > bound)
    wrong = np.where(free, inside, slope < -bound)
    found[rows.numbers] = target
    rows.free = np.where(free, target > 0.0, slope < -bound)
    rows.keep(wrong.any(axis=1))


def _by_vanishing(matrix: Vector, rows: _Rows, origin: Vector, found: Vector, limit: float) -> int:
    """Solve problems by a convex combination λ with ``Hλ = 0``, if there is one.

    Its gradients then span a subspace as a cone: whatever u leaves in it is cancelled by
    ``y = z + t λ >= 0`` on the support S, with ``H_SS z = -(H u)_S`` and t large enough.

    Args:
        matrix: H.
        rows: The unfinished problems; those that are solved are dropped.
        origin: The u of all problems, shape (R, K).
        found: The minimisers of all problems, written to.
        limit: Slopes up to this, relative to ``Σ|v_j|``, are zero.

    Returns:
        The number of linear systems solved.
    """
    size = matrix.shape[0]
    together = (rows.points + origin[rows.numbers]).sum(axis=0)
    if together.min() < 0.0:
        return 0
    together /= together.sum()
    if float(together @ matrix @ together) > _NEAR:
        return 0
    ones = np.ones(size)
    hull = active_set(matrix + 1.0, ones, together, limit=max(_ROUNDED, 0.01 * limit), scale=1.0)
    combination = hull.point / hull.point.sum()
    if float(combination @ matrix @ combination) > limit:
        return hull.iterations
    (support,) = combination.nonzero()
    factors = combination[support]
    block = matrix[np.ix_(support, support)]
    block.ravel()[:: support.size + 1] += max(1e-12, limit)
    factor, info = dpotrf(block)
    if info:
        return hull.iterations
    inner = np.zeros((rows.numbers.size, support.size))
    columns = matrix[support]
    for _ in range(_REFINEMENTS):
        rest = rows.linear[:, support] - inner @ columns[:, support]
        inner += dpotrs(factor, rest.T)[0].T
    lift = np.maximum((-inner / factors).max(axis=1), 0.0)
    points = np.zeros_like(rows.linear)
    points[:, support] = np.maximum(inner + lift[:, None] * factors, 0.0)
    slope = np.abs(points @ matrix - rows.linear).max(axis=1)
    solves = slope <= limit * (points.sum(axis=1) + rows.sizes)
    found[rows.numbers[solves]] = points[solves]
    rows.keep(~solves)
    return hull.iterations + 1
