"""The projection on the dual cone of two task gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["project_between_two"]

_COSINE = 2.0
"""What no cosine of two gradients reaches, however it was rounded."""

_Pair = tuple[float, float]


def project_between_two(
    gram: Iterable[float], lower: Iterable[Iterable[float]]
) -> tuple[list[_Pair], float] | None:
    """Minimise ``v'G v`` over ``v >= u`` for two gradients where at most one of them conflicts.

    Args:
        gram: G, row by row, 4 numbers.
        lower: u, several of 2 numbers.

    Returns:
        v, one for each u, and the largest residual as
        :class:`~mtl_methods.solvers.cone_projection.ConeProjectionSolution` measures it. Nothing
        where a gradient is zero, a number overflows, or both entries of a v would be above those
        of u, which takes a negative u.
    """
    first, product, _, second = gram
    if not (first > 0.0 and second > 0.0):
        return None
    one, two = math.sqrt(first), math.sqrt(second)
    cosine = product / one / two
    if not abs(cosine) < _COSINE:
        return None
    found: list[_Pair] = []
    worst = 0.0
    for u, w in lower:
        a, b = u * one, w * two
        along, beside = -(a + cosine * b), -(b + cosine * a)  # -H u
        x = y = 0.0
        if along > 0.0 and cosine * along >= beside:
            x = along
        elif beside > 0.0 and cosine * beside >= along:
            y = beside
        elif along > 0.0 or beside > 0.0:
            return None
        total = abs(a) + abs(b) + x + y
        if not total < math.inf:
            return None
        if total:
            left, right = (a + x) + cosine * (b + y), (b + y) + cosine * (a + x)
            worst = max(
                worst,
                abs(left) / total if x else -left / total,
                abs(right) / total if y else -right / total,
            )
        found.append((u + x / one, w + y / two))
    return found, worst
