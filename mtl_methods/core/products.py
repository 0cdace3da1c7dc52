"""Products of few long rows."""

from __future__ import annotations

from torch import Tensor

__all__ = ["long_product"]

_BLOCK = 1 << 16  # columns at once: partial sums keep float32 digits, operands stay in the cache


def long_product(left: Tensor, right: Tensor | None = None) -> Tensor:
    """``left @ rightᵀ``, a block of columns at a time.

    Args:
        left: Shape (a, m).
        right: Shape (b, m); ``left`` if not given.

    Returns:
        Shape (a, b).
    """
    right = left if right is None else right
    if left.shape[1] <= 2 * _BLOCK:
        return left @ right.T
    total = left.new_zeros(left.shape[0], right.shape[0])
    for start in range(0, left.shape[1], _BLOCK):
        end = start + _BLOCK
        total.addmm_(left[:, start:end], right[:, start:end].T)
    return total
