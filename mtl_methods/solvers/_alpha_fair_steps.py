"""Newton steps of the α-fair equation: plain ones, and guarded ones for what they leave over."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dposv, dpotrs

from mtl_methods.solvers._gram import EPSILON, Vector, largest, least, solve_definite

__all__ = ["LOG_TINY", "ROUNDED", "Newton", "Plain", "guarded_steps", "plain_steps"]

ROUNDED = 1e-8
"""Residual that is good enough where rounding allows no smaller one."""

_FAR = 2.0
"""Largest (Gw)_i w_i^p / c_i, or inverse, for which the equation's logarithm is linearised."""

_PATIENCE = 8
"""Newton steps after which a missing solution is looked for, and steps are guarded."""

_STALL = 1
"""Steps without a better residual after which it is asked whether rounding is all that is left."""

_INSIDE = 0.9
"""Share of the way to the boundary of the positive orthant that a straight step may go."""

_HALVINGS = 30
"""Largest number of halvings of a guarded step."""

_DEEP = 0.1
"""Exponent below which weights are expected to underflow, so that logarithms are kept as well."""

_TINY = 1e-300
"""Smallest v that the linear systems see: its reciprocal, times a large number, is finite."""

LOG_TINY = math.log(_TINY)
"""Its logarithm."""

_ZERO, _ONE = np.array(0.0), np.array(1.0)
"""Arrays, as p is below, since NumPy takes longer over Python's numbers."""


class Plain(NamedTuple):
    """Where plain steps lead to.

    Attributes:
        weights: The last iterate w, shape (K,).
        residual: ``max_i |(G w)_i w_i^p / c_i - 1|``, for w before underflow.
        iterations: Newton steps.
        distance: Lower bound of the squared distance of the unit gradients' hull from 0 where the
            residual is within the tolerance beyond rounding; otherwise 0.
        best: The iterate of least residual, shape (K,).
        best_residual: Its residual.
    """

    weights: Vector
    residual: float
    iterations: int
    distance: float
    best: Vector
    best_residual: float


class Newton(NamedTuple):
    """The best iterate, in the scale of unit gradients: ``v_i = w_i ||g_i||``.

    Attributes:
        v: The iterate, shape (K,); its entries below 1e-300 are held at 1e-300.
        log_v: Its logarithm, shape (K,), not held.
        residual: ``max_i |(C v)_i / σ_i - 1|``.
        iterations: Newton steps.
        rounded: Whether rounding alone is left of ``C v - σ``.
    """

    v: Vector
    log_v: Vector
    residual: float
    iterations: int
    rounded: bool = False


def plain_steps(
    matrix: Vector,
    lengths: Vector,
    right: Vector,
    p: float,
    weights: Vector,
    tolerance: float,
    max_iterations: int,
) -> Plain:
    """Take the first Newton steps of ``G w = c ∘ w^(-p)``; see ``solve_alpha_fair``.

    They work on G and w themselves, so that their residual is that of w as returned. They end
    early where a system is not positive definite.

    Args:
        matrix: G, C-contiguous, shape (K, K).
        lengths: ``||g_i||``, positive, shape (K,).
        right: c, shape (K,), or a single number as an array of no dimension.
        p: Exponent.
        weights: First w, positive, shape (K,).
        tolerance: Residual at which to stop.
        max_iterations: Largest number of steps, of which no more than 8 are taken.
    """
    system = np.empty_like(matrix)
    diagonal, cholesky = system.ravel()[:: lengths.shape[0] + 1], system
    power = np.array(p)
    deep = p < _DEEP
    if deep:
        log_w = np.log(weights)
    best, best_residual = weights, math.inf
    steps = min(max_iterations, _PATIENCE)
    iteration, guess, factored = 0, True, math.inf
    while True:
        if deep:
            weights = np.maximum(weights, _TINY)
        products = matrix.dot(weights)
        powers = np.exp(power * log_w) if deep else weights**p
        ratio = products * powers
        if right.ndim:
            ratio /= right
        low, high = least(ratio), largest(ratio)
        shared = 1.0
        if not iteration and low > 1.0:
            # All too large (aligned gradients): the factor they share, at no extra product.
            shared = low
        elif iteration and low < 1.0 / _FAR:
            # All too small (gradients that nearly cancel): the same, by the least F on the ray.
            mean = float(weights.dot(products) / weights.dot(right / powers))
            shared = mean if 0.0 < mean < 1.0 / _FAR else 1.0
        if shared != 1.0:
            scale = shared ** (-1.0 / (1.0 + p))
            weights = weights * scale
            products *= scale
            powers *= scale**p
            ratio /= shared
            low, high = low / shared, high / shared
            if deep:
                log_w -= math.log(shared) / (1.0 + p)
        residual = max(high - 1.0, 1.0 - low)
        if residual <= tolerance:
            smallest = least(products / lengths)
            distance = float(smallest * smallest / weights.dot(products))
            if EPSILON * float(weights.dot(lengths)) > tolerance * smallest:
                # (G w)_i may cancel so far that rounding decides on the residual.
                kappa = largest(np.abs(matrix).dot(weights) / products)
                distance = distance if EPSILON * kappa <= tolerance else 0.0
            if deep and least(log_w) < LOG_TINY:
                weights, distance = np.exp(log_w), 0.0
            return Plain(weights, residual, iteration, distance, weights, residual)
        if residual < best_residual:
            best, best_residual = weights, residual
        if iteration == steps or math.isnan(residual):
            break
        near = low > 1.0 / _FAR and high < _FAR
        if guess and not near and residual < math.inf:
            # Each weight by itself: a better first guess, far cheaper than a Newton step.
            guess = False
            change = np.sqrt(2.0 - np.minimum(ratio, _ONE))
            change /= np.maximum(ratio, _ONE) ** (1.0 / (1.0 + p))
            weights = weights * change
            if deep:
                log_w += np.log(change)
            continue
        guess = False
        slope = products if near else right / powers
        excess = products * np.log(ratio) if near else products - slope
        if near and residual * factored <= tolerance:
            fall, _ = dpotrs(cholesky, excess, 1, 1)  # the last factor will do to end with
        else:
            system[:] = matrix
            diagonal += power * slope / weights
            cholesky, fall, info = dposv(system.T, excess, 1, 1, 1)
            if info:
                break
            factored = residual if near else math.inf
        fall /= weights
        if near or deep:
            fall = fall if near else -_curve(-fall, p)
            weights = weights / np.exp(fall)
            if deep:
                log_w -= fall
        else:  # the same curve without logarithms
            falls = np.maximum(fall, _ZERO)
            weights = weights * (falls - fall + _ONE)
            weights /= (falls * power + _ONE) ** (1.0 / p)  # NumPy is fast at squares
        iteration += 1
    return Plain(weights, residual, iteration, 0.0, best, best_residual)


def guarded_steps(
    cosines: Vector,
    log_c: Vector,
    p: float,
    plain: Plain,
    lengths: Vector,
    tolerance: float,
    max_iterations: int,
    threshold: float,
) -> Newton:
    """Go on with steps that lower the potential, on ``C v = exp(log_c) v^(-p)``.

    Args:
        cosines: C, C-contiguous, shape (K, K).
        log_c: Logarithm of the right-hand side of the scaled equation, shape (K,).
        p: Exponent.
        plain: Where the plain steps ended.
        lengths: ``||g_i||``, shape (K,).
        tolerance: Residual at which to stop.
        max_iterations: Largest number of steps, the plain ones included.
        threshold: First multiple of the diagonal to add where a system is not definite.
    """
    size = log_c.shape[0]
    system = np.empty_like(cosines)
    diagonal = system.ravel()[:: size + 1]
    deep = p < _DEEP
    v, log_v = _in_scale(plain.weights, lengths)
    best, best_residual = _in_scale(plain.best, lengths), plain.best_residual
    shift = 0.0
    stalled = 0
    for iteration in range(plain.iterations, max_iterations + 1):
        if deep:
            v = np.maximum(v, _TINY)
        products = cosines.dot(v)
        target = np.exp(log_c - p * log_v)
        ratio = products / target
        low, high = least(ratio), largest(ratio)
        if low < 1.0 / _FAR:
            mean = float(v.dot(products) / v.dot(target))
            if 0.0 < mean < 1.0 / _FAR:
                log_v = log_v - math.log(mean) / (1.0 + p)
                factor = mean ** (-1.0 / (1.0 + p))
                v = v * factor
                products *= factor
                target *= factor**-p
                low, high = low / mean, high / mean
        residual = max(high - 1.0, 1.0 - low)
        if residual < best_residual:
            best, best_residual = (v, log_v), residual
            stalled = 0
            if residual <= tolerance:
                break
        elif iteration > plain.iterations:
            stalled += 1
            rounding = (size + 16.0) * np.abs(cosines).dot(v)
            rounding += 4.0 * (np.abs(log_c) + p * np.abs(log_v)) * target
            if stalled >= _STALL and (np.abs(target - products) <= EPSILON * rounding).all():
                if best_residual > ROUNDED:
                    best, best_residual = (v, log_v), residual
                return Newton(*best, best_residual, iteration, rounded=True)
        right = target - products
        while True:
            system[:] = cosines
            diagonal += p * target / v + shift
            change, info = solve_definite(system, right)
            if not info or shift > 1.0:
                break
            shift = max(100.0 * shift, threshold)  # float32 gradients: not quite semidefinite
        change /= v
        log_change = _guarded(cosines, log_c, p, v, log_v, change, right)
        log_v = log_v + log_change
        v = v * np.exp(log_change)
    return Newton(*best, best_residual, iteration)


def _in_scale(weights: Vector, lengths: Vector) -> tuple[Vector, Vector]:
    """Return v, away from 0 and infinity, and its logarithm."""
    v = np.clip(weights * lengths, _TINY, 1.0 / _TINY)
    return v, np.log(v)


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

    A step follows :func:`_curve` or, where that does not lower F and v stays positive, the straight
    line: gradients that nearly cancel each other go on doing so along the line alone.

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
    furthest = -_INSIDE / least(change) if least(change) < 0.0 else math.inf
    step = 1.0
    for _ in range(_HALVINGS):
        lines = (False, True) if step <= furthest else (False,)
        for line in lines:
            log_change = np.log1p(step * change) if line else _curve(step * change, p)
            after, _ = potential(v * np.exp(log_change), log_v + log_change)
            if after <= before - 1e-4 * step * slope + blur:
                return log_change
        step *= 0.5
    return _curve(step * change, p)
