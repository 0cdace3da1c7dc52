"""The α-fair equation ``G w = c ∘ w^(-p)`` of Nash-MTL, FairGrad and PIVRG, by Newton's method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg.lapack import dposv

from mtl_methods.errors import ConfigurationError
from mtl_methods.solvers._gram import (
    EPSILON,
    Vector,
    checked_gram,
    checked_vector,
    lengths_of,
    unit_gram,
)
from mtl_methods.solvers.min_norm import nearest_in_hull

__all__ = ["AlphaFairSolution", "AlphaFairStatus", "solve_alpha_fair"]

AlphaFairStatus: TypeAlias = Literal["converged", "inaccurate", "pareto_stationary"]

_STATIONARY = 8.0
"""Multiple of the Gram matrix's precision below which a squared hull distance is zero."""

_FAR = 2.0
"""Largest (Gw)_i w_i^p / c_i, or inverse, for which the equation's logarithm is linearised."""

_PATIENCE = 8
"""Newton steps after which a missing solution is looked for, and steps are guarded."""

_STALL = 3
"""Steps without a better residual after which it is asked whether rounding is reached."""

_LOG_TINY = -690.0
"""Logarithm of the smallest number whose reciprocal, times a large one, is still finite."""


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
        status: ``"converged"``: the residual is within the tolerance. ``"inaccurate"``: it is
            not, because float64 cannot hold it. ``"pareto_stationary"``: no solution exists.
    """

    weights: Vector
    residual: float
    iterations: int
    status: AlphaFairStatus


class _Newton(NamedTuple):
    """Last iterate, in the scale of unit gradients: ``v_i = w_i ||g_i||``."""

    log_v: Vector
    residual: float
    iterations: int
    positive: float
    """A lower bound of the squared distance of the unit gradients' hull from 0 (0: none)."""


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
    gradients. From the fourth part of the iterations that remain difficult on, steps are halved
    until F falls.

    Whether a solution exists is decided by the minimum-norm point of the hull of the unit
    gradients, not by failing to converge: at once from the solution itself, which bounds that
    norm from below by ``min(C v)² / v'C v``, and by solving for the point where this bound is
    too weak.

    Limits of float64: the sum ``(G w)_i`` cancels by the factor ``κ = Σ_j |G_ij| w_j / (G w)_i``,
    so the residual cannot fall below about ``1e-16 κ``. It is harmless for norms within 1e±3 and
    any p in [1e-2, 2]; with widely different norms and p far from 1, or gradients within about
    1e-4 of opposing each other, status ``"inaccurate"`` says that it was reached. A weight below
    1e-308 (p < 0.05 and a task that the max-min limit leaves out) underflows to 0 and is reported
    as ``"inaccurate"`` as well.

    Args:
        gram: ``G_ij = g_i'g_j``, shape (K, K), symmetric up to rounding.
        p: Exponent, positive.
        c: Positive right-hand side, shape (K,); ones where left out.
        tolerance: Largest residual called ``"converged"``.
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
    if lengths.min() == 0.0:
        certificate = np.zeros(size)
        certificate[int(lengths.argmin())] = 1.0
        return AlphaFairSolution(certificate, 0.0, 0, "pareto_stationary")
    inverse = 1.0 / lengths
    cosines = unit_gram(matrix, inverse)
    log_lengths = np.log(lengths)
    log_c = (p - 1.0) * log_lengths
    if c is not None:
        right = checked_vector(c, size, "c")
        if right.min() <= 0.0:
            raise ConfigurationError("every entry of c must be positive")
        log_c += np.log(right)
    if start is None:
        first = log_c / (1.0 + p)
    else:
        guess = checked_vector(start, size, "start")
        if guess.min() <= 0.0:
            raise ConfigurationError("every entry of start must be positive")
        first = np.log(guess) + log_lengths
    threshold = _STATIONARY * precision
    with np.errstate(all="ignore"):
        newton = _newton(cosines, log_c, p, first, tolerance, max_iterations, threshold)
        if newton.positive <= threshold:
            hull = nearest_in_hull(cosines, np.ones(size))
            if hull.squared <= threshold:
                certificate = hull.coefficients * (inverse * lengths.min())
                certificate /= certificate.sum()
                return AlphaFairSolution(
                    certificate, math.sqrt(hull.squared), newton.iterations, "pareto_stationary"
                )
        weights = np.exp(newton.log_v) * inverse
    residual = newton.residual if weights.min() > 0.0 else max(newton.residual, 1.0)
    status: AlphaFairStatus = "converged" if residual <= tolerance else "inaccurate"
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
    """Iterate on ``C v = exp(log_c) v^(-p)`` in log v; see :func:`solve_alpha_fair`."""
    size = log_c.shape[0]
    deep = p < 0.25
    best = _Newton(log_v, math.inf, 0, 0.0)
    stalled = 0
    for iteration in range(max_iterations + 1):
        v = np.exp(np.maximum(log_v, _LOG_TINY) if deep else log_v)
        products = cosines @ v
        target = np.exp(log_c - p * log_v)
        ratio = products / target
        low, high = float(ratio.min()), float(ratio.max())
        if not iteration and high > _FAR and (level := float(ratio.sum()) / size) > 0.0:
            # Far off as a whole (aligned gradients): the best common factor, at no extra product.
            log_v = log_v - math.log(level) / (1.0 + p)
            factor = level ** (-1.0 / (1.0 + p))
            v *= factor
            products *= factor
            target *= factor**-p
            ratio /= level
            low, high = low / level, high / level
        residual = max(high - 1.0, 1.0 - low)
        if residual < best.residual:
            positive = 0.0
            if residual <= tolerance or iteration >= _PATIENCE:
                smallest = float(products.min())
                if smallest > 0.0:
                    positive = smallest * smallest / float(v @ products)
            best = _Newton(log_v, residual, iteration, positive)
            stalled = 0
            if residual <= tolerance:
                return best
        elif iteration > _PATIENCE:
            stalled += 1
            if stalled >= _STALL:
                size_of_terms = np.abs(cosines) @ v
                if (np.abs(target - products) <= 16.0 * EPSILON * size_of_terms).all():
                    return _Newton(log_v, residual, iteration, 0.0)
        if iteration == _PATIENCE and nearest_in_hull(cosines, np.ones(size)).squared <= threshold:
            return best._replace(iterations=iteration, positive=0.0)
        near = low > 1.0 / _FAR and high < _FAR
        system = cosines.copy()
        if near:
            right = products * np.log(ratio)
            system.ravel()[:: size + 1] += p * products / v
            right = -right
        else:
            right = target - products
            system.ravel()[:: size + 1] += p * target / v
        _, change, info = dposv(system, right)
        if info:
            break
        change /= v
        if near:
            log_v = log_v + change
        else:
            log_v = log_v + np.where(change > 0.0, np.log1p(change), np.log1p(-p * change) / -p)
    return best._replace(iterations=iteration)
