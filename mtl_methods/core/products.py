"""Products of few long rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["Block", "long_product", "lower_products"]

Block = tuple[int, int, Tensor]
"""A block of a larger matrix: its first row, its first column, its entries."""

_BLOCK = 1 << 16  # columns at once: partial sums keep float32 digits, operands stay in the cache
_TASKS = 8  # rows of a temporary product


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


def lower_products(
    blocks: Sequence[Tensor], turned: Callable[[Tensor], Tensor] | None = None
) -> list[Block]:
    """``<turned(row_i), row_j>`` for j <= i.

    Args:
        blocks: K rows in blocks, each of shape (c, ...).
        turned: From some of the rows, shape (c, ...), to c others of as many elements; default the
            same. It makes few at a time, so that no second copy of all rows exists.

    Returns:
        Blocks that cover the lower triangle of the (K, K) matrix, of shape () where they are one
        number; what they hold above the diagonal does not count.
    """
    flat = [block.reshape(block.shape[0], -1) for block in blocks]
    products: list[Block] = []
    row = 0
    for i, block in enumerate(blocks):
        count = block.shape[0]
        step = count if turned is None else _TASKS
        for start in range(0, count, step):
            end = min(start + step, count)
            part = block if end - start == count else block[start:end]
            left = (part if turned is None else turned(part)).reshape(end - start, -1)
            column = 0
            for earlier in flat[:i]:
                products.append((row + start, column, _product(left, earlier)))
                column += earlier.shape[0]
            own = flat[i] if end == count else flat[i][:end]
            products.append((row + start, column, _product(left, own)))
        row += count
    return products


def _product(left: Tensor, right: Tensor) -> Tensor:
    if left.shape[0] > 1 or right.shape[0] > 1:
        return long_product(left, right)
    if left.shape[1] > _BLOCK:
        return long_product(left, right).view(())
    return torch.dot(left[0], right[0])
