"""CAGrad's dual problem for two task gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["CAGradPair", "cagrad_between_two"]

_SINE = 1e-6
"""Squared sine of the angle between gradients below which rounding tells."""

_Pair = tuple[float, float]


class CAGradPair(NamedTuple):
    """CAGrad's dual problem solved for two tasks.

    Attributes:
        weights: w, nonnegative, sums to one.
        correction: ``y = (c ||g_0|| / ||g_w||) w``.
        objective: ``g_w'g_0 + c ||g_0|| ||g_w||``.
        gap: ``max_i (objective - g_i'd) / (||g_i|| (1 + c) ||g_0||)``, not negative.
    """

    weights: _Pair
    correction: _Pair
    objective: float
    gap: float


def cagrad_between_two(gram: Iterable[float], c: float, threshold: float) -> CAGradPair | None:
    """Minimise ``g_w'g_0 + c ||g_0|| ||g_w||`` over ``w = (t, 1 - t)``, t in [0, 1].

    With ``D = ||g_1 - g_2||``, and t' the t and r the length at which ``||g_w||`` is least, the
    derivative ``(||g_1||^2 - ||g_2||^2) / 2 + c ||g_0|| D^2 (t - t') / ||g_w||`` is zero where
    ``||g_w||^2 = r^2 + D^2 (t - t')^2`` makes it so.

    Args:
        gram: G, row by row, 4 numbers.
        c: Radius of the ball relative to ``||g_0||``, positive.
        threshold: Squared norm of a combination of unit gradients that counts as zero.

    Returns:
        The solution, to be judged by its gap. Nothing where a gradient is zero, both nearly agree
        or oppose each other, the mean or the correction counts as zero beside the gradients that
        it is made of, or a number overflows.
    """
    first, product, _, second = gram
    one, two = (first + product) / 2.0, (product + second) / 2.0  # g_i'g_0
    mean = (one + two) / 2.0
    if not (first > 0.0 and second > 0.0):
        return None
    lengths = math.sqrt(first), math.sqrt(second)
    if not threshold * ((lengths[0] + lengths[1]) / 2.0) ** 2 < mean < math.inf:
        return None
    radius = c * math.sqrt(mean)
    slope = one - two
    apart = first - 2.0 * product + second
    area = first * second - product * product  # r^2 D^2
    if not area > _SINE * first * second:
        return None
    steep = apart * radius * radius - slope * slope
    if steep > 0.0:
        middle = second - product - slope * math.sqrt(area / steep)
        t = min(max(middle / apart, 0.0), 1.0)
    else:
        t = 0.0 if slope > 0.0 else 1.0
    weights = t, 1.0 - t
    along = weights[0] * first + weights[1] * product
    beside = weights[0] * product + weights[1] * second
    squared = weights[0] * along + weights[1] * beside
    if not squared > 0.0:
        return None
    length = math.sqrt(squared)
    if not threshold * (weights[0] * lengths[0] + weights[1] * lengths[1]) ** 2 < squared:
        return None
    objective = weights[0] * one + weights[1] * two + radius * length
    share = radius / length
    unit = (1.0 + c) * math.sqrt(mean)
    left = (objective - one - share * along) / lengths[0] / unit
    right = (objective - two - share * beside) / lengths[1] / unit
    if not (left + right < math.inf and share < math.inf):
        return None
    correction = share * weights[0], share * weights[1]
    return CAGradPair(weights, correction, objective, max(left, right, 0.0))
