"""The dual problem of CAGrad, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mtl_methods.errors import ConfigurationError
from mtl_methods.solvers._cagrad_levels import (
    EXCHANGES,
    LevelProblem,
    by_bracket,
    by_exchange,
    by_steps,
)
from mtl_methods.solvers._gram import EPSILON, Vector, checked_gram, lengths_of, unit_gram
from mtl_methods.solvers._nonnegative import minimise_nonnegative
from mtl_methods.solvers._two_tasks import cagrad_between_two
from mtl_methods.solvers.min_norm import HullPoint, nearest_in_hull

__all__ = ["CAGradSolution", "CAGradStatus", "solve_cagrad"]

CAGradStatus: TypeAlias = Literal["converged", "inaccurate", "pareto_stationary"]

_STATIONARY = 8.0
"""Multiple of the Gram matrix's precision below which a squared hull distance is zero."""

_NOTHING = 16.0 * EPSILON
"""c below which the correction is rounding of g_0: nothing but the linear term is left."""

_EXACT = 1e-13
"""Largest residual of the closed form for two tasks; rounding harms supports less."""

_LARGEST = 1e8
"""Largest c; the problem is the minimum-norm one to eight digits by then."""


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
    Supports are exchanged in blocks until all signs are right. Should that cycle or meet
    dependent gradients, splitting steps for the quadratic program that the conditions are at a
    given μ show the support. Should that fail as well, μ is bracketed: ``||Σ y_i g_i||`` grows
    with it. Two tasks have a closed form. Every way the result is exact, not the limit of a
    descent.

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
    if size == 2 and c >= _NOTHING:
        pair = cagrad_between_two(matrix.ravel().tolist(), c, threshold)
        if pair is not None and pair.gap <= min(tolerance, _EXACT):
            return CAGradSolution(
                np.array(pair.weights),
                np.array(pair.correction),
                pair.objective,
                pair.gap,
                0,
                "converged",
            )
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
    if c < _NOTHING:
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
    problem = LevelProblem(unit_gram(block, inverse), slopes, shortest * inverse, c, missing)
    found = by_exchange(problem)
    iterations = found.iterations if found is not None else EXCHANGES
    if found is None or found.gap > enough:
        found = by_steps(problem, precision)
        if found is not None:
            iterations += found.iterations
    # Neither a level above that of a zero gradient nor a y in the rounding of G can be trusted.
    if found is None or found.gap > enough or float(found.y.sum()) ** 2 * threshold >= c * c:
        cone = minimise_nonnegative(problem.cosines, -slopes, precision=precision)
        iterations += cone.iterations
        products = problem.cosines @ cone.point
        ceiling, start = 0.0, cone.point
        known: float | None = 0.0
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
            known = None
        for exact in (False, True):
            bracketed = by_bracket(problem, ceiling, start, precision, exact=exact, known=known)
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


def _hull(problem: LevelProblem, precision: float) -> HullPoint:
    """Return the point of the unit gradients' hull nearest to 0, which a zero gradient is."""
    nothing = np.zeros_like(problem.slopes)
    if problem.missing:
        return HullPoint(nothing, nothing, 0.0, 0)
    return nearest_in_hull(problem.cosines, np.ones_like(nothing), precision=precision)
