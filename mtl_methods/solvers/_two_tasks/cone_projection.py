"""The projection on the dual cone of two task gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["project_between_two"]

_COSINE = 1.01
"""What no cosine of two gradients reaches, however it was rounded."""

_Pair = tuple[float, float]


def project_between_two(
    gram: Iterable[float], lower: Iterable[Iterable[float]]
) -> tuple[list[_Pair], float] | None:
    """Minimise ``v'G v`` over ``v >= u`` for two gradients: supports are tried one by one.

    Args:
        gram: G, row by row, 4 numbers.
        lower: u, several of 2 numbers.

    Returns:
        v, one for each u, and the largest residual as
        :class:`~mtl_methods.solvers.cone_projection.ConeProjectionSolution` measures it. Nothing
        where a gradient is zero, a number overflows, or the matrix is no Gram matrix.
    """
    first, product, _, second = gram
    if not (first > 0.0 and second > 0.0):
        return None
    one, two = math.sqrt(first), math.sqrt(second)
    cosine = product / one / two
    if not abs(cosine) < _COSINE:
        return None
    cosine = min(max(cosine, -1.0), 1.0)  # beyond it is rounding
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
            if not (a < 0.0 and b < 0.0):
                return None
            x, y = -a, -b  # v is 0
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
        pair = u + x / one, w + y / two
        if not abs(pair[0]) + abs(pair[1]) < math.inf:
            return None
        found.append(pair)
    return found, worst
