"""Convex quadratic minimisation where some unknowns lie on a simplex and the rest are >= 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mtl_methods.errors import ConfigurationError
from mtl_methods.solvers._gram import Vector, checked_gram, checked_vector

__all__ = ["SimplexQuadraticSolution", "solve_simplex_quadratic"]

_RIDGE = 1e-11
"""Added to the diagonal, relative to its mean, so that every linear system is regular."""

_ENTER = 1e-12
"""A multiplier less negative than this, relative to the scale of the problem, counts as zero."""


@dataclass(frozen=True, slots=True)
class SimplexQuadraticSolution:
    """A minimiser of ``1/2 w'Mw - b'w`` with ``w >= 0`` and ``w_1 + ... + w_n = 1``.

    Attributes:
        weights: The minimiser w, shape (K,).
        residual: Largest violation of the optimality conditions, relative to the scale of M w and
            b; never negative.
        iterations: Linear systems solved.
        status: ``"converged"`` when the residual is within the tolerance, else ``"inaccurate"``.
    """

    weights: Vector
    residual: float
    iterations: int
    status: Literal["converged", "inaccurate"]


def solve_simplex_quadratic(
    matrix: ArrayLike, linear: ArrayLike, on_simplex: int, *, tolerance: float = 1e-9
) -> SimplexQuadraticSolution:
    """Minimise ``1/2 w'Mw - b'w`` over ``w >= 0`` with the first n unknowns summing to 1.

    A primal active-set method: it solves the equality-constrained problem on the unknowns that
    are free, stops at the first bound on the way, and frees the bound with the most negative
    multiplier; every step lowers a strictly convex objective, so that it ends.

    Args:
        matrix: M, symmetric positive semidefinite, shape (K, K).
        linear: b, shape (K,).
        on_simplex: n, from 1 to K.
        tolerance: Largest residual called ``"converged"``.

    Returns:
        The minimiser and how well it fulfils the optimality conditions.

    Raises:
        ConfigurationError: The shapes or ``on_simplex`` do not fit.
        SolverError: An entry is NaN or infinite.

    Source:
        J. Nocedal and S. J. Wright, "Numerical Optimization", Algorithm 16.3.
    """
    square = checked_gram(matrix)
    size = square.shape[0]
    target = checked_vector(linear, size, "the linear term")
    if not 1 <= on_simplex <= size:
        raise ConfigurationError(f"on_simplex must be from 1 to {size}, not {on_simplex}")
    scale = max(float(np.trace(square)) / size, float(np.abs(target).max()), np.finfo(float).tiny)
    square = (square + square.T) / (2.0 * scale) + _RIDGE * np.eye(size)
    target = target / scale
    ones = (np.arange(size) < on_simplex).astype(np.float64)
    point = ones / on_simplex
    free = ones > 0.0
    iterations = 0
    while iterations < 20 * size + 20:
        iterations += 1
        index = np.flatnonzero(free)
        inner, multiplier = _on_plane(square, target, ones, index)
        step = inner - point[index]
        shrinking = np.flatnonzero(inner < 0.0)
        if shrinking.size:
            ratios = point[index[shrinking]] / -step[shrinking]
            first = int(ratios.argmin())
            point[index] += float(ratios[first]) * step
            blocked = index[shrinking[first]]
            point[blocked] = 0.0
            free[blocked] = False
            continue
        point[index] = inner
        slope = square @ point - target - multiplier * ones
        slope[free] = 0.0
        enter = int(slope.argmin())
        if slope[enter] >= -_ENTER:
            break
        free[enter] = True
    residual = _violation(square, target, ones, point)
    status: Literal["converged", "inaccurate"]
    status = "converged" if residual <= tolerance else "inaccurate"
    return SimplexQuadraticSolution(point, residual, iterations, status)


def _on_plane(
    matrix: Vector, linear: Vector, ones: Vector, index: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[Vector, float]:
    """The minimiser over the free unknowns with the sum as only constraint, and its multiplier."""
    count = index.size
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = matrix[np.ix_(index, index)]
    system[:count, count] = -ones[index]
    system[count, :count] = ones[index]
    right = np.append(linear[index], 1.0)
    solved = np.linalg.lstsq(system, right, rcond=None)[0]
    return solved[:count], float(solved[count])


def _violation(matrix: Vector, linear: Vector, ones: Vector, point: Vector) -> float:
    """How far a point is from the optimality conditions."""
    slope = matrix @ point - linear
    used = (point > 0.0) & (ones > 0.0)
    multiplier = float(slope[used].mean()) if used.any() else 0.0
    reduced = slope - multiplier * ones
    wrong = np.where(point > 0.0, np.abs(reduced), np.maximum(-reduced, 0.0))
    return max(float(wrong.max()), abs(float(ones @ point) - 1.0))
