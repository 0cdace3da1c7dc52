"""The α-fair equation ``G w = c ∘ w^(-p)`` of Nash-MTL, FairGrad and PIVRG, by Newton's method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mtl_methods.errors import ConfigurationError
from mtl_methods.solvers._alpha_fair_steps import (
    LOG_TINY,
    ROUNDED,
    Plain,
    guarded_steps,
    plain_steps,
)
from mtl_methods.solvers._extended import exact_residual, refined
from mtl_methods.solvers._gram import (
    EPSILON,
    Vector,
    checked_gram,
    checked_vector,
    largest,
    least,
    lengths_of,
    unit_gram,
)
from mtl_methods.solvers._two_tasks import alpha_fair_between_two
from mtl_methods.solvers.min_norm import nearest_in_hull

__all__ = ["AlphaFairSolution", "AlphaFairStatus", "solve_alpha_fair"]

AlphaFairStatus: TypeAlias = Literal["converged", "inaccurate", "pareto_stationary"]

_STATIONARY = 8.0
"""Multiple of the Gram matrix's precision below which a squared hull distance is zero."""

_CANCELLED = 1e-7
"""Largest residual that is good enough where rounding w to float64 explains it."""

_ONE = np.array(1.0)
"""The right-hand side where c is left out."""


@dataclass(frozen=True, slots=True)
class AlphaFairSolution:
    """Weights that solve ``G w = c ∘ w^(-p)``, or the proof that there are none.

    Attributes:
        weights: With status ``"converged"`` or ``"inaccurate"``: w > 0, shape (K,). With status
            ``"pareto_stationary"``: the convex combination λ of the task gradients that
            vanishes, ``λ >= 0, Σ λ_i = 1, Σ λ_i g_i = 0`` within the precision.
        residual: ``max_i |(G w)_i w_i^p / c_i - 1|``; with status ``"pareto_stationary"``
            ``||Σ λ_i g_i|| / Σ λ_i ||g_i||``.
        iterations: Newton steps.
        status: ``"converged"``: the residual is within the tolerance, or, where float64 cannot
            hold a smaller one, at most 1e-8 or the bound of rounding that
            :func:`solve_alpha_fair` states. ``"inaccurate"``: it is not.
            ``"pareto_stationary"``: no solution exists.
    """

    weights: Vector
    residual: float
    iterations: int
    status: AlphaFairStatus


def solve_alpha_fair(
    gram: ArrayLike,
    p: float,
    c: ArrayLike | None = None,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
    precision: float = EPSILON,
    start: ArrayLike | None = None,
) -> AlphaFairSolution:
    """Solve ``G w = c ∘ w^(-p)`` for ``w > 0``.

    The equation is the stationarity condition of the strictly convex potential

        ``F(w) = 1/2 w'G w - Σ c_i w_i^(1-p) / (1-p)``    (``-Σ c_i log w_i`` for p = 1).

    A solution exists, and is then unique, exactly when no convex combination of the task
    gradients vanishes. Nash-MTL is p = 1, c = 1; FairGrad is p = 1/α, c = 1; PIVRG is p = 1/2,
    c = √ω.

    With the cosines C of the gradients and ``v_i = w_i ||g_i||`` the equation reads
    ``C v = σ(v)``, ``σ_i = c_i ||g_i||^(p-1) v_i^(-p)``. A Newton step solves
    ``(C + p diag(σ / v)) dv = σ - C v``. It is taken along a curve that stays positive for any
    length: v is linear in the step where it grows, σ where v falls. Once all of C v is positive
    and near σ, the step is Newton's for ``log(C v) = log σ``, which is exact for orthogonal
    gradients. The first guess is the solution for orthogonal gradients; where it is far off, every
    weight first moves by itself towards its own equation. From the ninth step on, which few
    problems need, steps are halved until F falls along the curve or along the straight line, on
    which gradients that nearly cancel go on doing so. An iterate that is far too small is first
    brought to the least F on its ray, ``t v`` with ``t^(1+p) = v'σ / v'C v``: gradients that
    nearly cancel ask for long weights. Two tasks leave one equation in ``log(v_2 / v_1)``.

    Whether a solution exists is decided by the minimum-norm point of the hull of the unit
    gradients, not by failing to converge: at once from the solution itself, which bounds that
    norm from below by ``min(C v)² / v'C v``, and by solving for the point where this bound is
    too weak.

    Limits of float64: the sum ``(G w)_i`` cancels by the factor ``κ = Σ_j |G_ij| w_j / (G w)_i``,
    so that rounding the exact w to float64 alone makes a residual of up to ``1.1e-16 (κ + p)``.
    That is far below 1e-8 for gradients of similar norms with p in [1e-2, 10], for norms spread
    over six decades with p in [0.02, 2], and for any norms with p = 1. Widely spread norms with p
    far from 1, and gradients that nearly oppose each other (within about 3e-4 for p up to 1, 0.05
    for p = 5), can reach the limit: the last steps and the residual are then computed in extended
    precision, and the weights count as converged up to a residual of ``2.2e-16 (κ + p)``, but no
    more than 1e-7. Beyond that they are ``"inaccurate"``, and for gradients in groups that oppose
    each other up to 1e-5 or less the iteration may end far from the solution, with a residual that
    says so. A weight below 1e-308 (p < 0.02 and a task that the max-min limit leaves out)
    underflows to 0, which is ``"inaccurate"`` as well.

    Args:
        gram: ``G_ij = g_i'g_j``, shape (K, K), symmetric up to rounding.
        p: Exponent, positive.
        c: Positive right-hand side, shape (K,); ones where left out.
        tolerance: Residual at which the iteration ends. One of up to 1e-8 is accepted where
            rounding is reached before.
        max_iterations: Largest number of Newton steps.
        precision: Relative accuracy of the Gram matrix (of ``G_ij`` against
            ``||g_i|| ||g_j||``): float32 gradients give about 1e-7. A combination of unit
            gradients whose squared norm is at most 8 times this counts as zero.
        start: Positive first guess of w, shape (K,), for instance the last step's weights. One
            from which the first steps do not arrive is left aside; they are not counted then. Two
            tasks hardly need one.

    Returns:
        The weights, their residual and the status.

    Raises:
        ConfigurationError: A shape does not fit, or p, c, tolerance, max_iterations, precision
            or start is out of range.
        SolverError: An input is not finite, or ``gram`` is not symmetric or has a negative
            diagonal entry.

    Source:
        A. Navon et al., "Multi-task learning as a bargaining game", 2022, Claim 3.1; H. Ban and
        K. Ji, "Fair resource allocation in multi-task learning", 2024, Eq. (4); the supplement
        of PIVRG, section 6.3.
    """
    matrix = checked_gram(gram)
    size = matrix.shape[0]
    p = float(p)
    if not 0.0 < p < math.inf:
        raise ConfigurationError(f"p must be a positive finite number, but is {p}")
    if not (0.0 < tolerance < 1.0 and max_iterations >= 1 and 0.0 < precision < 0.01):
        raise ConfigurationError(
            "tolerance must lie in (0, 1), max_iterations be at least 1 and precision lie in "
            f"(0, 0.01), but they are {tolerance}, {max_iterations} and {precision}"
        )
    right = _ONE
    if c is not None:
        right = checked_vector(c, size, "c")
        if least(right) <= 0.0:
            raise ConfigurationError("every entry of c must be positive")
    guesses = []
    if start is not None:
        guesses.append(checked_vector(start, size, "start").copy())
        if least(guesses[0]) <= 0.0:
            raise ConfigurationError("every entry of start must be positive")
    if size == 2:
        pair = _of_two(matrix, p, right, tolerance, max_iterations, precision)
        if pair is not None:
            return pair
    lengths = lengths_of(matrix)
    if not least(lengths):
        certificate = np.zeros(size)
        certificate[int(lengths.argmin())] = 1.0
        return AlphaFairSolution(certificate, 0.0, 0, "pareto_stationary")
    with np.errstate(all="ignore"):
        root = 1.0 / (1.0 + p)
        orthogonal = matrix.diagonal() ** -root
        guesses.append(orthogonal if c is None else orthogonal * right**root)
        for first in guesses:  # a start too far off is worse than none
            plain = plain_steps(matrix, lengths, right, p, first, tolerance, max_iterations)
            if plain.distance > _STATIONARY * precision:
                return AlphaFairSolution(
                    plain.weights, plain.residual, plain.iterations, "converged"
                )
        return _with_guard(matrix, lengths, right, p, plain, tolerance, max_iterations, precision)


def _of_two(
    matrix: Vector,
    p: float,
    right: Vector,
    tolerance: float,
    max_iterations: int,
    precision: float,
) -> AlphaFairSolution | None:
    """Return the solution for two tasks, or nothing where rounding may have a say in it."""
    bounds = (right.item(0), right.item(1)) if right.ndim else (1.0, 1.0)
    pair = alpha_fair_between_two(matrix.ravel().tolist(), p, bounds)
    if (
        pair is None
        or not pair.residual <= tolerance
        or not pair.distance > _STATIONARY * precision
        or not EPSILON * pair.cancelled <= tolerance
        or pair.iterations > max_iterations
    ):
        return None
    return AlphaFairSolution(np.array(pair.weights), pair.residual, pair.iterations, "converged")


def _with_guard(
    matrix: Vector,
    lengths: Vector,
    right: Vector,
    p: float,
    plain: Plain,
    tolerance: float,
    max_iterations: int,
    precision: float,
) -> AlphaFairSolution:
    """Return the solution, or that there is none, where plain steps did not settle it."""
    inverse = 1.0 / lengths
    cosines = unit_gram(matrix, inverse)
    hull = nearest_in_hull(cosines, np.ones(lengths.size), precision=precision)
    if hull.squared <= _STATIONARY * precision:
        certificate = hull.coefficients * (inverse * least(lengths))
        certificate /= certificate.sum()
        return AlphaFairSolution(
            certificate, math.sqrt(hull.squared), plain.iterations, "pareto_stationary"
        )
    weights, iterations = plain.weights, plain.iterations
    ended = found = plain.residual <= tolerance
    if not found:
        log_c = np.log(right) + (p - 1.0) * np.log(lengths)
        newton = guarded_steps(
            cosines, log_c, p, plain, lengths, tolerance, max_iterations, _STATIONARY * precision
        )
        iterations = newton.iterations
        ended = newton.rounded or newton.residual <= tolerance
        weights = newton.v * inverse
        if least(newton.log_v) < LOG_TINY:
            weights = np.exp(newton.log_v) * inverse
    # On the weights as returned: rounding them can cost more than the iteration left.
    ratio = matrix.dot(weights) * weights**p / right
    residual = max(largest(ratio) - 1.0, 1.0 - least(ratio))
    attainable = ROUNDED if ended else tolerance
    if (found or residual > tolerance) and math.isfinite(residual):
        # Both in extended precision: float64 may have been low by chance, or by steps that
        # followed its rounding.
        better = refined(matrix, cosines, inverse, weights, p, right)
        residual, rounding = exact_residual(matrix, weights, p, right)
        improved, allowed = exact_residual(matrix, better, p, right)
        if improved < residual:
            weights, residual, rounding = better, improved, allowed
            attainable = ROUNDED
        attainable = max(attainable, min(rounding, _CANCELLED))
    limit = max(tolerance, attainable)
    status: AlphaFairStatus = "converged" if residual <= limit else "inaccurate"
    return AlphaFairSolution(weights, residual, iterations, status)
