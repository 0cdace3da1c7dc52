"""Projection on the dual cone of the task gradients (UPGrad, DualProj), exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mtl_methods.errors import ConfigurationError, SolverError
from mtl_methods.solvers._gram import Vector, checked_gram, lengths_of, unit_gram
from mtl_methods.solvers._nonnegative import minimise_nonnegative, minimise_nonnegative_batch

__all__ = ["ConeProjectionSolution", "solve_cone_projection"]


@dataclass(frozen=True, slots=True)
class ConeProjectionSolution:
    """Coefficients of the projection of one or several combinations on the dual cone.

    Attributes:
        weights: v >= u, such that ``Σ v_i g_i`` is the projection, shape of u.
        residual: Largest violation of ``(G v)_i >= 0`` and of ``(G v)_i = 0`` where
            ``v_i > u_i``, relative to ``||g_i|| Σ_j |v_j| ||g_j||``; never negative.
        iterations: Linear systems solved.
        status: ``"converged"`` when the residual is within the tolerance, else ``"inaccurate"``.
    """

    weights: Vector
    residual: float
    iterations: int
    status: Literal["converged", "inaccurate"]


def solve_cone_projection(
    gram: ArrayLike, lower: ArrayLike, *, tolerance: float = 1e-10
) -> ConeProjectionSolution:
    """Minimise ``v'G v`` over ``v >= u``.

    ``Σ v_i g_i`` is then the vector nearest to ``Σ u_i g_i`` among those that conflict with no
    task gradient, ``{d : g_i'd >= 0 for all i}``. Solved by active sets on the matrix of cosines.
    DualProj projects one combination, u = 1/K; UPGrad projects every task gradient by itself
    (the rows of diag(u)) and adds the results up.

    Args:
        gram: ``G_ij = g_i'g_j``, shape (K, K), symmetric up to rounding.
        lower: u, shape (K,), or several, shape (R, K), which share their preparation.
        tolerance: Largest residual called ``"converged"``.

    Returns:
        The coefficients, in the shape of ``lower``. Those of a zero gradient stay at u.

    Raises:
        ConfigurationError: A shape does not fit.
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
    if not np.isfinite(bounds).all():
        raise SolverError("lower has an entry that is NaN or infinite")
    lengths = lengths_of(matrix)
    # A zero gradient is orthogonal to all: with length 1 it decouples and its v stays at u.
    scale = np.where(lengths > 0.0, lengths, 1.0)
    inverse = 1.0 / scale
    cosines = unit_gram(matrix, inverse)
    origin = bounds * scale
    if bounds.ndim == 1:
        linear = -(origin @ cosines)
        solution = minimise_nonnegative(cosines, linear, linear > 0.0)
        added, slope, iterations = solution.point, solution.slope, solution.iterations
    else:
        added, slope, iterations = minimise_nonnegative_batch(cosines, origin)
    total = (np.abs(origin) + added).sum(axis=-1, keepdims=True)
    violation = np.where(added > 0.0, np.abs(slope), -slope)
    residual = float((violation / np.maximum(total, np.finfo(np.float64).tiny)).max())
    return ConeProjectionSolution(
        bounds + added * inverse,
        max(residual, 0.0),
        iterations,
        "converged" if residual <= tolerance else "inaccurate",
    )
