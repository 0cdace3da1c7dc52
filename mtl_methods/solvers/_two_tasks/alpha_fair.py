"""The α-fair equation of two task gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["AlphaFairPair", "alpha_fair_between_two"]

_Pair = tuple[float, float]

_LENGTHS = 1e-60, 1e60
"""Lengths of gradients, and values of c, between which no power overflows."""

_POWERS = 0.1, 10.0
"""Exponents of which the same is true."""

_OPPOSED, _PARALLEL = -0.999, 1.01
"""Cosines below which sums cancel, and above which there are none, however they were rounded."""

_LONGEST = 600.0
"""Largest exponent that is taken of e."""

_STEPS = 40
"""Largest number of Newton steps; five are usual."""

_SETTLED = 1e-8
"""Newton step after which none follows: its square is rounding."""


class AlphaFairPair(NamedTuple):
    """A solution of ``G w = c ∘ w^(-p)``.

    Attributes:
        weights: w, positive.
        residual: ``max_i |(G w)_i w_i^p / c_i - 1|``.
        distance: Lower bound of the squared distance of the unit gradients' hull from 0.
        cancelled: ``max_i Σ_j |G_ij| w_j / (G w)_i``.
        iterations: Steps.
    """

    weights: _Pair
    residual: float
    distance: float
    cancelled: float
    iterations: int


def alpha_fair_between_two(gram: Iterable[float], p: float, right: _Pair) -> AlphaFairPair | None:
    """Solve ``G w = c ∘ w^(-p)`` for two gradients by one equation in one unknown.

    With ``v_i = w_i ||g_i||``, the cosine ρ and ``κ_i = c_i ||g_i||^(p-1)`` the equations are
    ``v_1 + ρ v_2 = κ_1 v_1^(-p)`` and ``ρ v_1 + v_2 = κ_2 v_2^(-p)``. Their quotient says of
    ``t = log(v_2 / v_1)``

        ``log((1 + ρ e^t) / (ρ + e^t)) - p t = log(κ_1 / κ_2)``,

    whose left side falls with t. Newton's method from the solution for ρ = 0, halving the interval
    where a step leaves it.

    Args:
        gram: G, row by row, 4 numbers.
        p: Exponent, positive.
        right: c, positive.

    Returns:
        The solution, to be judged by its residual, distance and cancellation. Nothing where numbers
        are outside the range in which no power overflows, the gradients nearly oppose each other,
        or steps do not settle.
    """
    first, product, _, second = gram
    low, high = _LENGTHS
    if not (low * low < first < high * high and low * low < second < high * high):
        return None
    if not (_POWERS[0] <= p <= _POWERS[1] and low < right[0] < high and low < right[1] < high):
        return None
    one, two = math.sqrt(first), math.sqrt(second)
    cosine = product / one / two
    if not _OPPOSED < cosine < _PARALLEL:
        return None
    scale_one = math.log(right[0]) + (p - 1.0) * math.log(one)
    scale_two = math.log(right[1]) + (p - 1.0) * math.log(two)
    apart = scale_one - scale_two
    lowest, highest = -_LONGEST, _LONGEST
    if cosine < 0.0:  # both sums are positive for v_2 / v_1 between -ρ and its inverse
        lowest = max(math.log(-cosine), lowest)
        highest = -lowest
    t, step = min(max(-apart / (1.0 + p), 0.9 * lowest), 0.9 * highest), math.inf
    iterations = 0
    while True:
        ratio = math.exp(t)
        along, beside = 1.0 + cosine * ratio, cosine + ratio
        if not (along > 0.0 and beside > 0.0):
            return None
        if abs(step) <= _SETTLED * (1.0 + abs(t)):
            break
        if iterations == _STEPS:
            return None
        excess = math.log(along / beside) - p * t - apart
        if excess > 0.0:
            lowest = t
        else:
            highest = t
        step = excess / (p + ratio / beside - cosine * ratio / along)
        if not lowest <= t + step <= highest:
            step = (lowest + highest) / 2.0 - t
        t += step
        iterations += 1
    log_v = (scale_one - math.log(along)) / (1.0 + p)
    log_one, log_two = log_v - math.log(one), log_v + t - math.log(two)
    if not max(abs(log_one), abs(log_two)) * max(p, 1.0) < _LONGEST:
        return None
    weights = math.exp(log_one), math.exp(log_two)
    sums = first * weights[0] + product * weights[1], product * weights[0] + second * weights[1]
    if not (sums[0] > 0.0 and sums[1] > 0.0):
        return None
    residual = max(
        abs(sums[0] * weights[0] ** p / right[0] - 1.0),
        abs(sums[1] * weights[1] ** p / right[1] - 1.0),
    )
    smallest = min(sums[0] / one, sums[1] / two)
    distance = smallest * smallest / (weights[0] * sums[0] + weights[1] * sums[1])
    size = abs(product)
    cancelled = max(
        (first * weights[0] + size * weights[1]) / sums[0],
        (size * weights[0] + second * weights[1]) / sums[1],
    )
    return AlphaFairPair(weights, residual, distance, cancelled, iterations)
