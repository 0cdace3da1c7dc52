"""Projection on the dual cone of the task gradients (UPGrad, DualProj), exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mtl_methods.errors import ConfigurationError, SolverError
from mtl_methods.solvers._gram import EPSILON, Vector, checked_gram, lengths_of, unit_gram
from mtl_methods.solvers._nonnegative_rows import minimise_nonnegative_rows
from mtl_methods.solvers._two_tasks import project_between_two
from mtl_methods.solvers.finite import is_finite

__all__ = ["ConeProjectionSolution", "solve_cone_projection"]

_ROUNDED = 8.0
"""Multiple of the Gram matrix's precision that a residual may have."""


@dataclass(frozen=True, slots=True)
class ConeProjectionSolution:
    """Coefficients of the projection of one or several combinations on the dual cone.

    Attributes:
        weights: v >= u, such that ``Σ v_i g_i`` is the projection, shape of u.
        residual: Largest violation of ``(G v)_i >= 0`` and of ``(G v)_i = 0`` where
            ``v_i > u_i``, relative to ``||g_i|| Σ_j (|u_j| + v_j - u_j) ||g_j||``; never
            negative.
        iterations: Linear systems solved.
        status: ``"converged"`` when the residual is within the tolerance or 8 times the precision,
            else ``"inaccurate"``.
    """

    weights: Vector
    residual: float
    iterations: int
    status: Literal["converged", "inaccurate"]


def solve_cone_projection(
    gram: ArrayLike,
    lower: ArrayLike,
    *,
    tolerance: float = 1e-10,
    precision: float = EPSILON,
) -> ConeProjectionSolution:
    """Minimise ``v'G v`` over ``v >= u``.

    ``Σ v_i g_i`` is then the vector nearest to ``Σ u_i g_i`` among those that conflict with no
    task gradient, ``{d : g_i'd >= 0 for all i}``. Solved by active sets on the matrix of cosines;
    two tasks have a closed form, which takes no system.
    DualProj projects one combination, u = 1/K; UPGrad projects every task gradient by itself
    (the rows of diag(u)) and adds the results up.

    Args:
        gram: ``G_ij = g_i'g_j``, shape (K, K), symmetric up to rounding.
        lower: u, shape (K,), or several, shape (R, K), which share their preparation.
        tolerance: Largest residual called ``"converged"``.
        precision: Relative accuracy of the Gram matrix (of ``G_ij`` against
            ``||g_i|| ||g_j||``): float32 gradients give about 1e-7. Within it the matrix is made
            positive definite, so that dependent gradients do no harm; a residual of up to 8 times
            this is as good as the matrix allows.

    Returns:
        The coefficients, in the shape of ``lower``. Those of a zero gradient stay at u.

    Raises:
        ConfigurationError: A shape does not fit, or precision is out of range.
        SolverError: An input is not finite, or ``gram`` is not symmetric or has a negative
            diagonal entry.

    Source:
        P. Quinton and V. Rey, "Jacobian descent for multi-objective optimization", 2024,
        Proposition 1; D. Lopez-Paz and M. Ranzato, "Gradient episodic memory for continual
        learning", 2017, Eq. (11).
    """
    matrix = checked_gram(gram)
    size = matrix.shape[0]
    bounds = np.asarray(lower, dtype=np.float64)
    if bounds.ndim not in (1, 2) or bounds.shape[-1] != size or not bounds.size:
        raise ConfigurationError(
            f"lower must have shape ({size},) or (R, {size}) like the Gram matrix, but has shape "
            f"{bounds.shape}"
        )
    if not 0.0 < precision < 0.01:
        raise ConfigurationError(f"precision must lie in (0, 0.01), but is {precision}")
    if not is_finite(bounds):
        raise SolverError("lower has an entry that is NaN or infinite")
    enough = max(tolerance, _ROUNDED * precision)
    if size == 2:
        between = project_between_two(matrix.ravel().tolist(), bounds.reshape(-1, 2).tolist())
        if between is not None:
            pairs, residual = between
            return _solution(np.array(pairs).reshape(bounds.shape), residual, 0, enough)
    lengths = lengths_of(matrix)
    # A zero gradient is orthogonal to all: with length 1 it decouples, and its v stays at u, which
    # must not count beside lengths that may be far smaller.
    scale = np.where(lengths > 0.0, lengths, 1.0)
    inverse = 1.0 / scale
    cosines = unit_gram(matrix, inverse)
    origin = np.atleast_2d(bounds * lengths)
    added, iterations = minimise_nonnegative_rows(cosines, origin, precision)
    slope = (origin + added) @ cosines
    total = (np.abs(origin) + added).sum(axis=-1, keepdims=True)
    violation = np.maximum(-slope, slope * (added > 0.0))
    residual = float((violation / np.maximum(total, np.finfo(np.float64).tiny)).max())
    weights = bounds + (added * inverse).reshape(bounds.shape)
    return _solution(weights, max(residual, 0.0), iterations, enough)


def _solution(
    weights: Vector, residual: float, iterations: int, enough: float
) -> ConeProjectionSolution:
    status: Literal["converged", "inaccurate"] = "converged" if residual <= enough else "inaccurate"
    return ConeProjectionSolution(weights, residual, iterations, status)
