"""The α-fair equation in extended precision, where float64 is no longer exact enough.

Where ``(G w)_i`` cancels, float64 cannot tell how wrong w is. Most processors offer a precision
that can; where none is at hand, NumPy's is that of float64.
"""

from __future__ import annotations

import numpy as np

from mtl_methods.solvers._gram import EPSILON, Vector, solve_definite

__all__ = ["exact_residual", "refined"]

_REFINEMENTS = 3
"""Newton steps in extended precision."""


def exact_residual(
    matrix: Vector, weights: Vector, p: float, right: Vector | float
) -> tuple[float, float]:
    """Return the residual in extended precision, and what rounding w to float64 may make of 0.

    A relative change of every w_j by at most ε changes ``(G w)_i`` by at most
    ``ε Σ_j |G_ij| w_j``.
    """
    exact, w = matrix.astype(np.longdouble), weights.astype(np.longdouble)
    inverse = w ** np.longdouble(p) / right
    kappa = float((np.abs(exact) @ w * inverse).max())
    residual = float(np.abs(exact @ w * inverse - 1.0).max())
    return residual, EPSILON * (kappa + p)


def refined(
    matrix: Vector,
    cosines: Vector,
    inverse: Vector,
    weights: Vector,
    p: float,
    right: Vector | float,
) -> Vector:
    """Return weights improved by Newton steps whose right-hand side has extended precision.

    w becomes the exact solution, rounded to float64.
    """
    exact = matrix.astype(np.longdouble)
    power = np.longdouble(p)
    w = weights.astype(np.longdouble)
    diagonal = slice(None, None, weights.size + 1)
    for _ in range(_REFINEMENTS):
        target = right * w**-power
        system = cosines.copy()
        slope = (target / w).astype(np.float64)
        system.ravel()[diagonal] += p * slope * inverse * inverse
        missing = (target - exact @ w).astype(np.float64)
        change, info = solve_definite(system, missing * inverse)
        if info:
            break
        w = w + change * inverse
    rounded: Vector = np.where(w > 0.0, w, weights).astype(np.float64)
    return rounded
