"""The point of minimum norm in the convex hull of the task gradients (MGDA), exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mtl_methods.errors import ConfigurationError
from mtl_methods.solvers._gram import EPSILON, Vector, checked_gram, lengths_of, unit_gram
from mtl_methods.solvers._nonnegative import minimise_nonnegative
from mtl_methods.solvers._two_tasks import hull_of_two, nearest_between_two

__all__ = ["MinNormSolution", "solve_min_norm"]


_ROUNDED = 8.0
"""Multiple of the Gram matrix's precision that a residual may have."""

_STRETCH = 100.0
"""Factor between the weights of the constraint that are tried."""


@dataclass(frozen=True, slots=True)
class MinNormSolution:
    """The shortest convex combination of the task gradients.

    Attributes:
        weights: λ, nonnegative, sums to one, shape (K,).
        norm: ``||Σ λ_i g_i||``, in the unit of the gradients; 0 means Pareto-stationary.
        relative_norm: ``||Σ λ_i g_i|| / Σ λ_i ||g_i||``, between 0 and 1.
        residual: ``max_i (||d||² - g_i'd) / ((||g_i|| + l) l)`` with ``d = Σ λ_j g_j`` and
            ``l = Σ λ_j ||g_j||``, the violation of the optimality condition
            ``g_i'd >= ||d||²``; never negative.
        iterations: Linear systems solved.
        status: ``"converged"`` when the residual is within the tolerance or 8 times the precision,
            else ``"inaccurate"``.
    """

    weights: Vector
    norm: float
    relative_norm: float
    residual: float
    iterations: int
    status: Literal["converged", "inaccurate"]


class HullPoint(NamedTuple):
    """Solution in the scale of the unit gradients (internal).

    Attributes:
        coefficients: y >= 0 with ``Σ y_i shares_i = 1``, shape (K,).
        products: ``C y`` with the matrix of cosines C, shape (K,).
        squared: ``y'C y``, never negative.
        iterations: Linear systems solved.
    """

    coefficients: Vector
    products: Vector
    squared: float
    iterations: int


def nearest_in_hull(
    cosines: Vector, shares: Vector, factor: float = 1.0, *, precision: float = EPSILON
) -> HullPoint:
    """Minimise ``y'C y`` over ``y >= 0`` with ``Σ y_i shares_i = 1``.

    With the constraint as one more coordinate this is a nonnegative least-squares problem: the
    minimiser of ``y'C y + factor² (shares'y - 1)²`` over the orthant is a positive multiple of
    the solution, since the second term alone decides the length on every ray. It stays well
    posed where the minimum is zero.

    Args:
        cosines: Gram matrix C of unit vectors, shape (K, K).
        shares: Positive numbers of at most 1, shape (K,).
        factor: Any positive number; only rounding depends on it.
        precision: Accuracy of C's entries.
    """
    if shares.shape[0] == 2:
        pair = hull_of_two(cosines.item(0, 1), shares.item(0), shares.item(1))
        return HullPoint(np.array(pair[0]), np.array(pair[1]), pair[2], 0)
    scaled = factor * shares
    matrix = cosines + scaled * scaled[:, None]
    solution = minimise_nonnegative(matrix, scaled, precision=precision)
    point = solution.point / float(shares @ solution.point)
    products = cosines @ point
    return HullPoint(point, products, max(float(point @ products), 0.0), solution.iterations)


def solve_min_norm(
    gram: ArrayLike, *, tolerance: float = 1e-10, precision: float = EPSILON
) -> MinNormSolution:
    """Return the convex combination of task gradients with the smallest norm.

    Solves ``min ||Σ λ_i g_i||²`` over ``λ >= 0, Σ λ_i = 1`` from the Gram matrix by active sets
    in finitely many steps. The matrix is rescaled to unit gradients first, so that rows of very
    different scales, collinear rows and more tasks than parameters do no harm. Where the
    minimiser is not unique, one with few nonzero weights may be returned.

    Args:
        gram: ``G_ij = g_i'g_j``, shape (K, K), symmetric up to rounding.
        tolerance: Largest residual called ``"converged"``.
        precision: Relative accuracy of the Gram matrix (of ``G_ij`` against
            ``||g_i|| ||g_j||``): float32 gradients give about 1e-7. A residual of up to 8 times
            this is as good as the matrix allows.

    Returns:
        Weights, norm and residual. A task with zero gradient takes all the weight (the first
        one, if several).

    Raises:
        ConfigurationError: ``gram`` is not a square matrix, or precision is out of range.
        SolverError: ``gram`` is not finite, not symmetric or has a negative diagonal entry.

    Source:
        J.-A. Désidéri, "Multiple-gradient descent algorithm (MGDA)", 2012; O. Sener and V.
        Koltun, "Multi-task learning as multi-objective optimization", 2018, Eq. (3); the
        combinatorial solution goes back to P. Wolfe, "Finding the nearest point in a polytope",
        1976.
    """
    matrix = checked_gram(gram)
    if not 0.0 < precision < 0.01:
        raise ConfigurationError(f"precision must lie in (0, 0.01), but is {precision}")
    size = matrix.shape[0]
    tolerance = max(tolerance, _ROUNDED * precision)
    if size == 2:
        pair = nearest_between_two(matrix.ravel().tolist())
        if pair is not None and pair.residual <= tolerance:
            weights = np.array(pair.weights)
            return MinNormSolution(
                weights, pair.norm, pair.relative_norm, pair.residual, 0, "converged"
            )
    lengths = lengths_of(matrix)
    shortest = float(lengths.min())
    if shortest == 0.0:
        weights = np.zeros(size)
        weights[int(lengths.argmin())] = 1.0
        return MinNormSolution(weights, 0.0, 0.0, 0.0, 0, "converged")
    inverse = 1.0 / lengths
    cosines = unit_gram(matrix, inverse)
    if size == 1:
        return MinNormSolution(np.ones(1), shortest, 1.0, 0.0, 0, "converged")
    shares = shortest * inverse
    hull = nearest_in_hull(cosines, shares, precision=precision)
    residual = _violation(hull, shares)
    iterations = hull.iterations
    factor = 1.0
    while residual > tolerance and factor * float(shares.min()) < 1.0:
        # Long gradients cancel below the length of short ones: weigh the constraint for them.
        factor *= _STRETCH
        other = nearest_in_hull(cosines, shares, factor, precision=precision)
        iterations += other.iterations
        violation = _violation(other, shares)
        if violation < residual:
            hull, residual = other, violation
    root = math.sqrt(hull.squared)
    weights = hull.coefficients * shares
    weights /= weights.sum()
    return MinNormSolution(
        weights,
        shortest * root,
        root / float(hull.coefficients.sum()),
        residual,
        iterations,
        "converged" if residual <= tolerance else "inaccurate",
    )


def _violation(hull: HullPoint, shares: Vector) -> float:
    """Return the residual of :class:`MinNormSolution`."""
    total = float(hull.coefficients.sum())
    excess = (hull.squared * shares - hull.products) / (1.0 + total * shares)
    return max(float(excess.max()) / total, 0.0)
