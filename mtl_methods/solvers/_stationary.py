"""Nonnegative quadratic problems of gradients of which a positive combination is zero."""

from __future__ import annotations

import numpy as np

from mtl_methods.solvers._gram import Vector, largest, least, solve_definite
from mtl_methods.solvers._splitting import split

__all__ = ["minimise_stationary"]

_POSITIVE = 1e-3
"""Smallest coefficient of a positive combination, relative to the largest."""

_PLAIN = 0.02
"""Smallest coefficient with which no search is needed."""

_CLOSE = 0.065
"""Size of the most negative coefficient, relative to the largest, up to which a search for a
positive combination nearby is worth its steps."""

_FLOOR = 0.05
"""What the search bounds the coefficients by from below, relative to the largest."""

_STEPS = 40
"""Splitting steps of the search."""

_STEPS_AFTER = 16
"""Splitting steps of all problems after a search."""

_PENALTY = 1e-3
"""Penalty of these steps: small, as only directions in which H does not curve matter."""


def minimise_stationary(
    matrix: Vector, system: Vector, linear: Vector, points: Vector, origin: Vector, limit: float
) -> Vector | None:
    """Minimise ``1/2 y'Hy - b'y`` over ``y >= 0`` for several ``b = -H u`` if H w = 0, w > 0.

    With such a w the tasks are in balance (Pareto stationary): each direction that ascends for
    one descends for another. Every problem then has minimisers at which the slope ``H (y + u)``
    is zero: from the solution of ``H y = b`` nearest to a given point, the least multiple of w
    leads to one that is nonnegative. w is sought near the sum of all ``y + u``, which is small
    in H and positive if the points are near minimisers.

    Args:
        matrix: H, positive semidefinite, unit diagonal, shape (K, K).
        system: H plus a multiple of the identity that makes it regular, of the order of 1e-12.
        linear: b, one a row, shape (R, K).
        points: Nonnegative points, shape (R, K).
        origin: u, shape (R, K).
        limit: Slope that counts as zero, relative to ``Σ (|u_j| + y_j)`` at the points.

    Returns:
        Minimisers, shape (R, K), or nothing if no w was found.

    Source:
        P. Gordan, "Ueber die Auflösung linearer Gleichungen mit reellen Coefficienten", 1873: such
        a w exists exactly if no direction descends for every task alike. That the slopes are
        zero, which is checked, makes the points minimisers.
    """
    balance = _balanced(matrix, system, (points + origin).sum(axis=0))
    top = largest(balance)
    if top <= 0.0 or least(balance) < -_CLOSE * top:
        return None
    if least(balance) <= _PLAIN * top:
        balance = _search(matrix, system, balance / top)
        if least(balance) <= _POSITIVE * largest(balance):
            return None
        # So far off, the points would need large multiples: large weights for a zero update.
        state = split(matrix, linear, points.copy(), _STEPS_AFTER, _PENALTY).state
        points = np.maximum(state, 0.0)
    change, _ = solve_definite(system.copy(), (linear - points @ matrix).T)
    found = points + change.T
    multiples = (found / -balance).max(axis=1)
    found += np.maximum(multiples, 0.0)[:, None] * balance
    np.maximum(found, 0.0, out=found)  # the entry that set the multiple is zero up to rounding
    slope = found @ matrix
    slope -= linear
    # Against what was there before the multiples, which could make any slope look small.
    bound = points.sum(axis=1)
    bound += np.abs(origin).sum(axis=1)
    bound *= limit
    return found if (np.abs(slope).max(axis=1) <= bound).all() else None


def _balanced(matrix: Vector, system: Vector, vector: Vector) -> Vector:
    """Return the nearest vector w with H w = 0."""
    change, _ = solve_definite(system.copy(), matrix @ vector)
    balanced: Vector = vector - change
    return balanced


def _search(matrix: Vector, system: Vector, start: Vector) -> Vector:
    """Return w with H w = 0 that is mostly positive if it can be, by steps from a start.

    They minimise ``w'H w`` over ``w >= floor``.
    """
    linear = -_FLOOR * matrix.sum(axis=0)
    state = split(matrix, linear[None], (start - _FLOOR)[None], _STEPS, _PENALTY).state[0]
    return _balanced(matrix, system, np.maximum(state, 0.0) + _FLOOR)
