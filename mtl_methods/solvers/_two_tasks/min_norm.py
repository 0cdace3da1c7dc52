"""The point of the segment between two task gradients that is nearest to 0."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["MinNormPair", "hull_of_two", "nearest_between_two"]

_COSINE = 1.01
"""What no cosine of two gradients reaches, however it was rounded."""

_Pair = tuple[float, float]


class MinNormPair(NamedTuple):
    """The shortest convex combination of two gradients.

    Attributes:
        weights: λ, nonnegative, sums to one.
        norm: Its length.
        relative_norm: The same over ``Σ λ_i ||g_i||``.
        residual: As :class:`~mtl_methods.solvers.min_norm.MinNormSolution` measures it.
    """

    weights: _Pair
    norm: float
    relative_norm: float
    residual: float


def hull_of_two(cosine: float, first: float, second: float) -> tuple[_Pair, _Pair, float]:
    """Minimise ``y'C y`` over ``y >= 0`` with ``Σ y_i shares_i = 1``.

    y is along ``C⁻¹ shares``, which is ``(s_1 - c s_2, s_2 - c s_1)`` up to a positive factor, or
    along one axis where that leaves the orthant.

    Args:
        cosine: c, the entry beside the diagonal of C; those on it are 1.
        first: s_1, positive.
        second: s_2, positive.

    Returns:
        y, ``C y``, and ``y'C y``, which is not negative.
    """
    left, right = max(first - cosine * second, 0.0), max(second - cosine * first, 0.0)
    if left + right == 0.0:  # the same vector twice
        left = right = 1.0
    length = left * first + right * second
    left, right = left / length, right / length
    products = left + cosine * right, cosine * left + right
    squared = left * products[0] + right * products[1]
    return (left, right), products, max(squared, 0.0)


def nearest_between_two(gram: Iterable[float]) -> MinNormPair | None:
    """Return the convex combination of two task gradients with the smallest norm.

    Args:
        gram: G, row by row, 4 numbers.

    Returns:
        The solution, to be judged by its residual. Nothing where a gradient is zero, a number
        overflows, or the matrix is no Gram matrix.
    """
    first, product, _, second = gram
    if not (first > 0.0 and second > 0.0):
        return None
    one, two = math.sqrt(first), math.sqrt(second)
    cosine, shortest = product / one / two, min(one, two)
    shares = shortest / one, shortest / two
    if not (shares[0] > 0.0 and shares[1] > 0.0 and abs(cosine) < _COSINE):
        return None
    point, products, squared = hull_of_two(cosine, *shares)
    total = point[0] + point[1]
    excess = [
        (squared * share - along) / (1.0 + total * share) / total
        for share, along in zip(shares, products, strict=True)
    ]
    if not abs(excess[0]) + abs(excess[1]) < math.inf:
        return None
    left, right = point[0] * shares[0], point[1] * shares[1]
    root = math.sqrt(squared)
    return MinNormPair(
        (left / (left + right), right / (left + right)),
        shortest * root,
        root / total,
        max(*excess, 0.0),
    )
