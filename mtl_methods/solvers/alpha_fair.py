"""The α-fair equation ``G w = c ∘ w^(-p)`` of Nash-MTL, FairGrad and PIVRG, by Newton's method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mtl_methods.errors import ConfigurationError
from mtl_methods.solvers._extended import exact_residual, refined
from mtl_methods.solvers._gram import (
    EPSILON,
    Vector,
    checked_gram,
    checked_vector,
    largest,
    least,
    lengths_of,
    solve_definite,
    unit_gram,
)
from mtl_methods.solvers.min_norm import HullPoint, nearest_in_hull

__all__ = ["AlphaFairSolution", "AlphaFairStatus", "solve_alpha_fair"]

AlphaFairStatus: TypeAlias = Literal["converged", "inaccurate", "pareto_stationary"]

_STATIONARY = 8.0
"""Multiple of the Gram matrix's precision below which a squared hull distance is zero."""

_FAR = 2.0
"""Largest (Gw)_i w_i^p / c_i, or inverse, for which the equation's logarithm is linearised."""

_PATIENCE = 8
"""Newton steps after which a missing solution is looked for, and steps are guarded."""

_STALL = 1
"""Steps without a better residual after which it is asked whether rounding is all that is left."""

_ROUNDED = 1e-8
"""Residual that is good enough where rounding allows no smaller one."""

_CANCELLED = 1e-7
"""Largest residual that is good enough where rounding w to float64 explains it."""

_HALVINGS = 30
"""Largest number of halvings of a guarded step."""

_TINY = 1e-300
"""Smallest v that the linear systems see: its reciprocal, times a large number, is finite."""

_LOG_TINY = math.log(_TINY)
"""Its logarithm."""


_ZERO = np.array(0.0)
"""An array, here and below, where NumPy would take longer over Python's number."""


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


class _Newton(NamedTuple):
    """Last iterate, in the scale of unit gradients: ``v_i = w_i ||g_i||``.

    Attributes:
        v: The iterate, shape (K,); its entries below 1e-300 are held at 1e-300.
        log_v: Its logarithm, shape (K,), not held.
        residual: ``max_i |(C v)_i / σ_i - 1|``.
        iterations: Newton steps.
        distance: Lower bound of the squared distance of the unit gradients' hull from 0, or that
            distance itself where the hull is given; 0 where neither is known.
        hull: The point of the hull nearest to 0, if it was needed.
        rounded: Whether rounding alone is left of ``C v - σ``.
    """

    v: Vector
    log_v: Vector
    residual: float
    iterations: int
    distance: float
    hull: HullPoint | None = None
    rounded: bool = False


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
    gradients. From the ninth step on, which few problems need, steps are halved until F falls.
    An iterate that is far too small is first brought to the least F on its ray, ``t v`` with
    ``t^(1+p) = v'σ / v'C v``: gradients that nearly cancel ask for long weights.

    Whether a solution exists is decided by the minimum-norm point of the hull of the unit
    gradients, not by failing to converge: at once from the solution itself, which bounds that
    norm from below by ``min(C v)² / v'C v``, and by solving for the point where this bound is
    too weak.

    Limits of float64: the sum ``(G w)_i`` cancels by the factor ``κ = Σ_j |G_ij| w_j / (G w)_i``,
    so that rounding the exact w to float64 alone makes a residual of up to ``1.1e-16 (κ + p)``.
    That is far below 1e-8 for gradients of similar norms with p in [1e-2, 10], for norms spread
    over six decades with p in [0.02, 2], and for any norms with p = 1. Widely spread norms with p
    far from 1, and gradients within about 3e-4 of opposing each other, can reach the limit: the
    last steps and the residual are then computed in extended precision, and the weights count as
    converged up to a residual of ``2.2e-16 (κ + p)``, but no more than 1e-7. Beyond that they are
    ``"inaccurate"``, and for gradients in groups that oppose each other up to 1e-5 or less the
    iteration may end far from the solution, with a residual that says so. A weight below 1e-308
    (p < 0.02 and a task that the max-min limit leaves out) underflows to 0, which is
    ``"inaccurate"`` as well.

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
        start: Positive first guess of w, shape (K,), for instance the last step's weights.

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
    lengths = lengths_of(matrix)
    if not least(lengths):
        certificate = np.zeros(size)
        certificate[int(lengths.argmin())] = 1.0
        return AlphaFairSolution(certificate, 0.0, 0, "pareto_stationary")
    inverse = np.reciprocal(lengths)
    cosines = unit_gram(matrix, inverse)
    log_lengths = np.log(lengths)
    log_c = (p - 1.0) * log_lengths
    right: Vector | float = 1.0
    if c is not None:
        right = checked_vector(c, size, "c")
        if least(right) <= 0.0:
            raise ConfigurationError("every entry of c must be positive")
        log_c += np.log(right)
    if start is None:
        first = log_c / (1.0 + p)
    else:
        guess = checked_vector(start, size, "start")
        if least(guess) <= 0.0:
            raise ConfigurationError("every entry of start must be positive")
        first = np.log(guess) + log_lengths
    threshold = _STATIONARY * precision
    with np.errstate(all="ignore"):
        newton = _newton(cosines, log_c, p, first, tolerance, max_iterations, threshold)
        if newton.distance <= threshold:
            hull = newton.hull or nearest_in_hull(cosines, np.ones(size), precision=precision)
            if hull.squared <= threshold:
                certificate = hull.coefficients * (inverse * lengths.min())
                certificate /= certificate.sum()
                return AlphaFairSolution(
                    certificate, math.sqrt(hull.squared), newton.iterations, "pareto_stationary"
                )
        ended = newton.rounded or newton.residual <= tolerance
        weights = newton.v * inverse
        if least(newton.log_v) < _LOG_TINY:
            weights = np.exp(newton.log_v) * inverse
        # On the weights as returned: rounding them can cost more than the iteration left.
        residual = _residual(matrix, weights, p, right)
        attainable = _ROUNDED if ended else tolerance
        if residual > tolerance and math.isfinite(residual):
            # Both in extended precision: float64 may have been low by chance.
            better = refined(matrix, cosines, inverse, weights, p, right)
            residual, rounding = exact_residual(matrix, weights, p, right)
            improved, allowed = exact_residual(matrix, better, p, right)
            if improved < residual:
                weights, residual, rounding = better, improved, allowed
                attainable = _ROUNDED
            attainable = max(attainable, min(rounding, _CANCELLED))
    limit = max(tolerance, attainable)
    status: AlphaFairStatus = "converged" if residual <= limit else "inaccurate"
    return AlphaFairSolution(weights, residual, newton.iterations, status)


def _newton(
    cosines: Vector,
    log_c: Vector,
    p: float,
    log_v: Vector,
    tolerance: float,
    max_iterations: int,
    threshold: float,
) -> _Newton:
    """Iterate on ``C v = exp(log_c) v^(-p)``; see :func:`solve_alpha_fair`."""
    size = log_c.shape[0]
    system = np.empty_like(cosines)
    diagonal = system.ravel()[:: size + 1]
    power, unit = np.array(p), np.array(1.0)
    deep = p < 0.25
    v = np.exp(log_v)
    best, best_residual = (v, log_v), math.inf
    hull: HullPoint | None = None
    distance = shift = 0.0
    stalled = 0
    for iteration in range(max_iterations + 1):
        if deep:
            v = np.maximum(v, _TINY)
        products = cosines.dot(v)
        target = np.exp(log_c - power * log_v)
        ratio = products / target
        low, high = least(ratio), largest(ratio)
        shared = 1.0
        if not iteration and low > 1.0:
            # All too large (aligned gradients): the factor they share, at no extra product.
            shared = low
        elif iteration and low < 1.0 / _FAR:
            # All too small (gradients that nearly cancel): the same, by the least F on the ray.
            mean = float(v.dot(products)) / float(v.dot(target))
            shared = mean if 0.0 < mean < 1.0 / _FAR else 1.0
        if shared != 1.0:
            log_v = log_v - math.log(shared) / (1.0 + p)
            factor = shared ** (-1.0 / (1.0 + p))
            v = v * factor
            products *= factor
            target *= factor**-p
            ratio /= shared
            low, high = low / shared, high / shared
        residual = max(high - 1.0, 1.0 - low)
        if residual < best_residual:
            best, best_residual = (v, log_v), residual
            stalled = 0
            if residual <= tolerance:
                smallest = least(products)
                bound = max(smallest * smallest / float(v.dot(products)), distance)
                return _Newton(v, log_v, residual, iteration, bound, hull)
        elif iteration > _PATIENCE:
            stalled += 1
            rounding = (size + 16.0) * np.abs(cosines).dot(v)
            rounding += 4.0 * (np.abs(log_c) + p * np.abs(log_v)) * target
            if stalled >= _STALL and (np.abs(target - products) <= EPSILON * rounding).all():
                if best_residual > _ROUNDED:
                    best, best_residual = (v, log_v), residual
                return _Newton(*best, best_residual, iteration, distance, hull, rounded=True)
        if iteration == _PATIENCE:
            precision = threshold / _STATIONARY
            hull = nearest_in_hull(cosines, np.ones(size), precision=precision)
            distance = hull.squared
            if distance <= threshold:
                break
        guarded = iteration >= _PATIENCE
        near = not guarded and low > 1.0 / _FAR and high < _FAR
        slope = products if near else target
        right = -products * np.log(ratio) if near else target - products
        slope = power * slope / v + unit
        while True:
            system[:] = cosines
            diagonal[:] = slope + shift if shift else slope
            change, info = solve_definite(system, right)
            if not info or shift > 1.0:
                break
            shift = max(100.0 * shift, threshold)  # float32 gradients: not quite semidefinite
        change /= v
        if near:
            log_change = change
        elif guarded:
            log_change = _guarded(cosines, log_c, p, v, log_v, change, right)
        else:
            log_change = _curve(change, p)
        log_v = log_v + log_change
        v = v * np.exp(log_change)
    return _Newton(*best, best_residual, iteration, distance, hull)


def _residual(matrix: Vector, weights: Vector, p: float, right: Vector | float) -> float:
    """Return ``max_i |(G w)_i w_i^p / c_i - 1|``."""
    ratio = matrix.dot(weights) * weights**p
    if not isinstance(right, float):
        ratio /= right
    return max(largest(ratio) - 1.0, 1.0 - least(ratio))


def _curve(change: Vector, p: float) -> Vector:
    """Return the change of log v that the relative change of v stands for.

    Where v grows, v is linear in the step; where it falls, ``v^(-p)`` is: either of the two sides
    of the equation is then linear, and v stays positive for steps of any length.
    """
    grows = np.maximum(change, _ZERO)
    curve: Vector = np.log1p(grows)
    curve -= np.log1p((grows - change) * p) / p
    return curve


def _guarded(
    cosines: Vector,
    log_c: Vector,
    p: float,
    v: Vector,
    log_v: Vector,
    change: Vector,
    descent: Vector,
) -> Vector:
    """Return the change of log v for the longest halved step that lowers the potential F.

    Args:
        cosines: C.
        log_c: Logarithm of the right-hand side of the scaled equation.
        p: Exponent.
        v: Current iterate.
        log_v: Its logarithm.
        change: Newton's relative change of v.
        descent: ``-∂F/∂v``.
    """
    constants = np.exp(log_c)
    power = 1.0 - p

    def potential(point: Vector, log_point: Vector) -> tuple[float, float]:
        quadratic = 0.5 * float(point @ (cosines @ point))
        gain = np.expm1(power * log_point) / power if power else log_point
        concave = float(constants @ gain)
        return quadratic - concave, quadratic + abs(concave)

    before, scale = potential(v, log_v)
    # What F cannot tell; the products cancel where gradients nearly oppose each other.
    blur = 1e-13 * scale + (v.size + 2.0) * EPSILON * float(v @ (np.abs(cosines) @ v))
    slope = float(descent @ (change * v))
    step = 1.0
    log_change = _curve(change, p)
    for _ in range(_HALVINGS):
        after, _ = potential(v * np.exp(log_change), log_v + log_change)
        if after <= before - 1e-4 * step * slope + blur:
            break
        step *= 0.5
        log_change = _curve(step * change, p)
    return log_change
