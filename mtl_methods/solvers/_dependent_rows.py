"""Several nonnegative quadratic problems whose matrix is singular, as of dependent gradients."""

from __future__ import annotations

from functools import partial

import numpy as np

from mtl_methods.solvers._gram import Vector
from mtl_methods.solvers._rows import REST, ROUNDED, Rows, exchange_supports, finish
from mtl_methods.solvers._splitting import PENALTY, Steps, split
from mtl_methods.solvers._stationary import minimise_stationary
from mtl_methods.solvers._supports import solve_on_supports

__all__ = ["Scaling", "minimise_dependent_rows"]

_FIRST = 16
"""Splitting steps with one penalty for all coordinates, before a balance of the tasks is sought."""

_ROUNDS = (40, 32, 32, 48)
"""Largest numbers of steps of the rounds."""

_CONTRAST = 8.0
"""Ratio of the scales r of a coordinate that is zero in all problems and one that is in none."""

_CHANGE = 2e-3
"""Change of the state in a step, see :meth:`Steps.settle`, at which supports are tried in the first
round; the later ones, of few problems, take all their steps."""


def minimise_dependent_rows(matrix: Vector, system: Vector, rows: Rows, origin: Vector) -> int:
    """Minimise ``1/2 y'Hy - b'y`` over ``y >= 0`` for several ``b = -H u``, H singular.

    Where a positive combination of the gradients is zero, :func:`minimise_stationary` finds it
    after the first steps, or after more, and solves all problems with it. Otherwise the problems
    share most of their supports, which have nearly as many indices as the gradients have
    dimensions, so that H hardly curves along them. The steps are therefore taken in coordinates
    ``y_j r_j``, that is, with the penalty ``ρ r_j²`` for y_j: large where most points are zero,
    small where most are not. As many steps leave half as many wrong supports.

    Args:
        matrix: H, positive semidefinite up to rounding, unit diagonal, shape (K, K).
        system: H plus a multiple of the identity that makes it regular, of the order of 1e-12.
        rows: All problems with a positive b; their minimisers are put in its ``found``.
        origin: u of these problems, shape (r, K).

    Returns:
        The number of linear systems solved.
    """
    rows.state, penalty, _ = split(matrix, rows.linear, None, _FIRST, PENALTY)
    rows.points = np.maximum(rows.state, 0.0)
    if _solve_in_balance(matrix, system, rows, origin):
        return 1
    solved, scaling = 0, None
    solve = partial(solve_on_supports, system)
    last = len(_ROUNDS) - 1
    for number, most in enumerate(_ROUNDS):
        scaling = Scaling(rows.state, scaling)
        right = rows.linear * scaling.inverse
        steps = Steps(scaling.matrix(matrix), right, penalty)
        change = 0.0 if number else _CHANGE
        state, reached = steps.settle(scaling.change(rows.state), most, change)
        rows.state, penalty, settled = steps.fit(state)
        rows.points, rows.free = np.maximum(rows.state, 0.0), rows.state > 0.0
        rows.points *= scaling.inverse
        if not number and not reached and _solve_in_balance(matrix, system, rows, origin):
            return 1
        # Supports are not worth trying after a penalty that did not fit or steps that go on.
        if number < last and not (settled and (reached or number)):
            continue
        solved += exchange_supports(matrix, solve, rows, last=number == last)
        if rows.numbers.size <= REST:
            break
    return solved + finish(matrix, rows)


def _solve_in_balance(matrix: Vector, system: Vector, rows: Rows, origin: Vector) -> bool:
    """Solve all problems if a positive combination of the gradients is zero; return whether."""
    minima = minimise_stationary(matrix, system, rows.linear, rows.points, origin, ROUNDED)
    if minima is None:
        return False
    rows.found[rows.numbers] = minima
    return True


class Scaling:
    """Coordinates ``y_j r_j``, in which the matrix is ``H_ij / (r_i r_j)`` and b ``b_j / r_j``.

    Args:
        state: h, in the coordinates of ``before``, shape (R, K).
        before: Coordinates until now; those without scaling where left out.

    Attributes:
        root: r, shape (K,).
        inverse: 1 / r.
    """

    def __init__(self, state: Vector, before: Scaling | None = None) -> None:
        shares = np.full(state.shape[0], 1.0 / state.shape[0]) @ (state > 0.0)
        self.root: Vector = _CONTRAST ** (shares.mean() - shares)
        self.inverse: Vector = 1.0 / self.root
        self._ratio = self.root if before is None else self.root * before.inverse

    def change(self, state: Vector) -> Vector:
        """Return the state in these coordinates: points grow with r, slopes shrink."""
        changed: Vector = state * np.where(state > 0.0, self._ratio, 1.0 / self._ratio)
        return changed

    def matrix(self, matrix: Vector) -> Vector:
        """Return the matrix in these coordinates."""
        scaled: Vector = matrix * self.inverse
        scaled *= self.inverse[:, None]
        return scaled
