"""The dual problem of CAGrad, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.lapack import dposv

from mtl_methods.errors import ConfigurationError
from mtl_methods.solvers._gram import EPSILON, Vector, checked_gram, lengths_of, unit_gram
from mtl_methods.solvers._nonnegative import (
    active_set,
    limit_of,
    minimise_nonnegative,
    regularised,
)
from mtl_methods.solvers.min_norm import HullPoint, nearest_in_hull

__all__ = ["CAGradSolution", "CAGradStatus", "solve_cagrad"]

CAGradStatus: TypeAlias = Literal["converged", "inaccurate", "pareto_stationary"]

_STATIONARY = 8.0
"""Multiple of the Gram matrix's precision below which a squared hull distance is zero."""

_EXCHANGES = 25
"""Block exchanges before the bracketed search takes over."""

_LARGEST = 1e8
"""Largest c; the problem is the minimum-norm one to eight digits by then."""

_TINY = 1e-300
"""Smallest squared length."""

_LEVELLED = 1e-13
"""Relative accuracy of the correction and of its length at a level."""

_BRACKETS = 200
"""Largest number of levels the bracketed search tries."""


@dataclass(frozen=True, slots=True)
class CAGradSolution:
    """Minimiser of CAGrad's dual problem.

    Attributes:
        weights: w, nonnegative, sums to one, shape (K,).
        correction: ``y = (c ||g_0|| / ||g_w||) w``, so that the update of CAGrad is
            ``g_0 + Σ y_i g_i``, shape (K,). With status ``"pareto_stationary"``, where g_w = 0
            leaves that open: the y of the update nearest to g_0 that lowers no task's loss
            less than 0, ``g_i'd >= 0`` for all i.
        objective: ``g_w'g_0 + c ||g_0|| ||g_w||``; it equals ``max_d min_i g_i'd`` over
            ``||d - g_0|| <= c ||g_0||``.
        residual: Duality gap per task, ``max_i (objective - g_i'd) / (||g_i|| (1 + c) ||g_0||)``
            with the update d; never negative.
        iterations: Linear systems solved.
        status: ``"converged"``: the residual is within the tolerance. ``"inaccurate"``: it is
            not. ``"pareto_stationary"``: g_w = 0 is optimal (within the precision), so that no
            update improves the worst task.
    """

    weights: Vector
    correction: Vector
    objective: float
    residual: float
    iterations: int
    status: CAGradStatus


class _Problem(NamedTuple):
    """The problem in units of ``||g_0||`` and of unit gradients.

    Attributes:
        cosines: Gram matrix C of the unit gradients (those that are not zero), shape (K, K).
        slopes: ``ĝ_i'g_0 / ||g_0||``, shape (K,).
        shares: Length of the shortest gradient over those of all, shape (K,).
        radius: Length of the correction, c.
        missing: Whether there are zero gradients besides.
    """

    cosines: Vector
    slopes: Vector
    shares: Vector
    radius: float
    missing: bool


class _Level(NamedTuple):
    """A solution of the conditions.

    Attributes:
        y: Coefficients of the correction, shape (K,).
        level: μ.
        length: ``||Σ y_i ĝ_i||``.
        objective: The dual objective of ``w ∝ y shares``.
        gap: The residual of :class:`CAGradSolution`.
        iterations: Linear systems solved.
    """

    y: Vector
    level: float
    length: float
    objective: float
    gap: float
    iterations: int


def _evaluated(problem: _Problem, y: Vector, level: float, iterations: int) -> _Level:
    """Return the solution with its duality gap."""
    cosines, slopes, shares, radius, missing = problem
    if float(y.sum()) < 0.5 * radius:
        # c is so small that y is lost in the rounding of μ; the steepest need takes it all.
        y = np.zeros_like(y)
        y[int((slopes / shares).argmin())] = radius
    products = cosines @ y
    length = math.sqrt(max(float(y @ products), _TINY))
    objective = (float(slopes @ y) + radius * length) / float(shares @ y)
    attained = slopes + products * (radius / length)
    gap = float((objective * shares - attained).max())
    if missing:
        gap = max(gap, objective)
    return _Level(y, level, length, objective, max(gap, 0.0) / (1.0 + radius), iterations)


def solve_cagrad(
    gram: ArrayLike,
    c: float,
    *,
    tolerance: float = 1e-10,
    precision: float = EPSILON,
) -> CAGradSolution:
    """Minimise ``g_w'g_0 + c ||g_0|| ||g_w||`` over ``w >= 0, Σ w_i = 1``.

    Here ``g_w = Σ w_i g_i`` and ``g_0`` is the mean gradient. The problem is the dual of
    ``max_d min_i g_i'd`` over the ball ``||d - g_0|| <= c ||g_0||``. With ``d = g_0 + Σ y_i g_i``
    and the level ``μ = min_i g_i'd``, the optimality conditions are

        ``y >= 0``,  ``G y + G 1/K - μ >= 0``, complementary,  ``||Σ y_i g_i|| = c ||g_0||``.

    For a given support y is linear in μ, and the last condition is one quadratic equation in μ.
    Supports are exchanged in blocks until all signs are right. Should that cycle, μ is bracketed:
    ``||Σ y_i g_i||`` grows with μ, and for a given μ the conditions are a convex quadratic
    program over the orthant. Either way the result is exact, not the limit of a descent.

    Args:
        gram: ``G_ij = g_i'g_j``, shape (K, K), symmetric up to rounding.
        c: Radius of the ball relative to ``||g_0||``, in [0, 1e8]; 0 is linear scalarisation,
            the paper's values lie in [0, 1).
        tolerance: Largest residual called ``"converged"``.
        precision: Relative accuracy of the Gram matrix (of ``G_ij`` against
            ``||g_i|| ||g_j||``): float32 gradients give about 1e-7. A combination of unit
            gradients whose squared norm is at most 8 times this counts as zero.

    Returns:
        Weights, the correction of the mean gradient, and the duality gap.

    Raises:
        ConfigurationError: ``gram`` is not a square matrix, or c, tolerance or precision is out
            of range.
        SolverError: ``gram`` is not finite, not symmetric or has a negative diagonal entry.

    Source:
        B. Liu et al., "Conflict-averse gradient descent for multi-task learning", 2021,
        Eq. (3) and (4).
    """
    matrix = checked_gram(gram)
    size = matrix.shape[0]
    c = float(c)
    if not 0.0 <= c <= _LARGEST:
        raise ConfigurationError(f"c must lie in [0, {_LARGEST:g}], but is {c}")
    if not (0.0 < tolerance < 1.0 and 0.0 < precision < 0.01):
        raise ConfigurationError(
            "tolerance must lie in (0, 1) and precision in (0, 0.01), but they are "
            f"{tolerance} and {precision}"
        )
    threshold = _STATIONARY * precision
    enough = max(tolerance, threshold)
    lengths = lengths_of(matrix)
    present = lengths > 0.0
    inner = matrix.sum(axis=1) / size
    mean_squared = float(inner.sum()) / size
    mean_length = float(lengths.sum()) / size
    if mean_squared <= threshold * mean_length * mean_length:
        uniform = np.full(size, 1.0 / size)
        return CAGradSolution(uniform, np.zeros(size), 0.0, 0.0, 0, "pareto_stationary")
    root = math.sqrt(mean_squared)
    radius = c * root
    if c < 16.0 * EPSILON:  # rounding of g_0: nothing but the linear term is left
        weights = np.zeros(size)
        weights[int(inner.argmin())] = 1.0
        return CAGradSolution(weights, np.zeros(size), float(inner.min()), 0.0, 0, "converged")
    missing = not present.all()
    kept = lengths[present] if missing else lengths
    inverse = 1.0 / kept
    block = matrix[np.ix_(present, present)] if missing else matrix
    # Everything is measured in ||g_0|| and in unit gradients from here on.
    slopes = (inner[present] if missing else inner) * inverse / root
    shortest = float(kept.min())
    problem = _Problem(unit_gram(block, inverse), slopes, shortest * inverse, c, missing)
    found = _exchange(problem)
    iterations = found.iterations if found is not None else _EXCHANGES
    # Neither a level above that of a zero gradient nor a y in the rounding of G can be trusted.
    if found is None or found.gap > enough or float(found.y.sum()) ** 2 * threshold >= c * c:
        cone = minimise_nonnegative(problem.cosines, -slopes, precision=precision)
        iterations += cone.iterations
        products = problem.cosines @ cone.point
        ceiling, start = 0.0, cone.point
        if float(cone.point @ products) <= c * c * (1.0 + 1e-9 + threshold):
            # The level is 0 or above, unless no update improves the worst task.
            hull = _hull(problem, precision)
            iterations += hull.iterations
            if hull.squared <= threshold:
                weights, correction = np.zeros(size), np.zeros(size)
                if missing:
                    weights[int(lengths.argmin())] = 1.0
                else:
                    weights[:] = hull.coefficients * problem.shares
                    weights /= weights.sum()
                correction[present] = cone.point * (inverse * root)
                residual = max(0.0, -float((slopes + products).min()) / (1.0 + c))
                return CAGradSolution(
                    weights, correction, 0.0, residual, iterations, "pareto_stationary"
                )
            ceiling, start = math.inf, hull.coefficients * (c / math.sqrt(hull.squared))
        for exact in (False, True):
            bracketed = _bracket(problem, ceiling, start, precision, exact=exact)
            iterations += bracketed.iterations
            if found is None or found.level > ceiling or bracketed.gap < found.gap:
                found = bracketed
            if found.gap <= enough:
                break
        assert found is not None
    weights, correction = np.zeros(size), np.zeros(size)
    weights[present] = found.y * problem.shares
    weights /= weights.sum()
    correction[present] = found.y * (inverse * (radius / found.length))
    return CAGradSolution(
        weights,
        correction,
        found.objective * root * shortest,
        found.gap,
        iterations,
        "converged" if found.gap <= enough else "inaccurate",
    )


def _hull(problem: _Problem, precision: float) -> HullPoint:
    """Return the point of the unit gradients' hull nearest to 0, which a zero gradient is."""
    nothing = np.zeros_like(problem.slopes)
    if problem.missing:
        return HullPoint(nothing, nothing, 0.0, 0)
    return nearest_in_hull(problem.cosines, np.ones_like(nothing), precision=precision)


def _piece(problem: _Problem, index: NDArray[np.intp]) -> tuple[float, Vector] | None:
    """Solve the conditions on one support.

    There ``y = μ a - h`` with ``C a = shares``, ``C h = slopes``, and ``y'C y = radius²`` is
    quadratic in μ; its larger root is wanted.

    Args:
        problem: The problem.
        index: The support, shape (n,).

    Returns:
        μ and y on the support, or nothing if the support is dependent. Where the quadratic has
        no root, μ is its minimiser.
    """
    right = np.empty((2, index.size))
    right[0] = problem.shares.take(index)
    right[1] = problem.slopes.take(index)
    _, solved, info = dposv(problem.cosines.take(index, 0).take(index, 1), right.T)
    if info:
        return None
    products = right @ solved
    square, cross, constant = float(products[0, 0]), float(products[0, 1]), float(products[1, 1])
    if not square > 0.0:
        return None
    discriminant = cross * cross - square * (constant - problem.radius * problem.radius)
    level = (cross + math.sqrt(max(discriminant, 0.0))) / square
    return level, level * solved[:, 0] - solved[:, 1]


def _exchange(problem: _Problem) -> _Level | None:
    """Exchange supports in blocks until all signs are right, or return nothing."""
    cosines, slopes, shares, _, _ = problem
    size = slopes.shape[0]
    passive = np.ones(size, dtype=np.bool_)
    for iteration in range(1, _EXCHANGES + 1):
        (index,) = passive.nonzero()
        piece = _piece(problem, index) if index.size else None
        if piece is None:
            return None
        level, inner = piece
        y = np.zeros(size)
        y[index] = inner
        slack = cosines @ y + slopes - level * shares
        tolerance = 64.0 * EPSILON * (float(np.abs(inner).sum()) + 1.0 + abs(level))
        wrong = np.where(passive, y < 0.0, slack < -tolerance)
        if not wrong.any():
            return _evaluated(problem, y, level, iteration)
        passive = passive ^ wrong
    return None


def _bracket(
    problem: _Problem, ceiling: float, start: Vector, precision: float, *, exact: bool
) -> _Level:
    """Find the level by bracketing, where exchanging supports cycled or met a dependent one.

    Args:
        problem: The problem.
        ceiling: An upper bound of the level.
        start: A point near the correction, from which the first level is solved, shape (K,).
        precision: Accuracy of the cosines.
        exact: Whether to solve as far as float64 goes, with the matrix as it is: norms spread
            over many decades need it.
    """
    _, slopes, shares, radius, _ = problem
    cosines = problem.cosines if exact else regularised(problem.cosines, precision)
    regular = problem._replace(cosines=cosines)
    limit = limit_of(EPSILON) if exact else max(_LEVELLED, limit_of(precision))
    close = 4.0 * EPSILON if exact else limit
    low = float((slopes / shares).min())
    high = min(float(((slopes + radius) / shares).min()), ceiling)
    y, candidate, iterations = start, high, 0
    if start.any():
        piece = _piece(regular, start.nonzero()[0])
        if piece is not None and low < piece[0] < high:
            candidate = piece[0]
    for _ in range(_BRACKETS):
        linear = candidate * shares - slopes
        scale = float(np.abs(linear).max())
        if exact:
            minimum = minimise_nonnegative(cosines, linear, y > 0.0, point=y)
        else:
            minimum = active_set(cosines, linear, y, limit=limit, scale=scale)
        iterations += minimum.iterations
        y, level = minimum.point, candidate
        length = math.sqrt(max(float(y @ (cosines @ y)), 0.0))
        if abs(length - radius) <= close * radius:
            break
        if length <= radius:
            low = candidate
        else:
            high = candidate
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        (index,) = y.nonzero()
        piece = _piece(regular, index) if index.size else None
        candidate = piece[0] if piece is not None and low < piece[0] < high else middle
    return _evaluated(problem, y, level, iterations)
