"""Products of few long rows, and the symmetric matrices made of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.solvers.finite import is_finite

__all__ = [
    "Block",
    "dot_products",
    "has_kept_digits",
    "long_product",
    "lower_product",
    "lower_products",
    "mirrored",
    "symmetric_sum",
]

Block = tuple[int, int, Tensor]
"""A block of a larger matrix: its first row, its first column, its entries."""

_BLOCK = 1 << 16  # columns at once: partial sums keep float32 digits
_CACHED = 1 << 18, 1 << 13  # numbers at once on a CPU, whose caches hold them, and fewest columns
_STRIP = 12  # rows at once of a symmetric product on a CPU: two fifths fewer than the square
_SMALL = 1 << 20  # multiply-adds of a product not worth cutting
_TASKS = 8  # rows of a temporary product
_UNDERFLOW = 1e-30  # squared norms below it may have lost float32 digits


def has_kept_digits(gram: NDArray[np.float64]) -> bool:
    """Whether a Gram matrix of float32 products lost no digits to over- or underflow."""
    return min(gram.diagonal().tolist()) > _UNDERFLOW and is_finite(gram)


def long_product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ rightᵀ``, a block of columns at a time.

    Args:
        left: Shape (a, m).
        right: Shape (b, m).

    Returns:
        Shape (a, b).
    """
    size = left.shape[1]
    step = _columns(left.shape[0] + right.shape[0], left)
    if size <= 2 * step:
        return left @ right.T
    total = left.new_zeros(left.shape[0], right.shape[0])
    for start in range(0, size, step):
        end = start + step
        total.addmm_(left[:, start:end], right[:, start:end].T)
    return total


def lower_product(rows: Tensor) -> Tensor:
    """``rows @ rowsᵀ`` on and below the diagonal; what is above it does not count.

    Args:
        rows: Shape (a, m).

    Returns:
        Shape (a, a).
    """
    count, size = rows.shape
    strip = _STRIP if rows.device.type == "cpu" else count
    if count <= strip or count * count * size <= _SMALL:
        return long_product(rows, rows)
    total = rows.new_zeros(count, count)
    step = _columns(count, rows)
    for start in range(0, size, step):
        part = rows[:, start : start + step]
        for first in range(0, count, strip):
            end = min(first + strip, count)
            total[first:end, :end].addmm_(part[first:end], part[:end].T)
    return total


def _columns(rows: int, like: Tensor) -> int:
    """How many columns of so many rows are multiplied at once."""
    if like.device.type != "cpu":
        return _BLOCK
    numbers, fewest = _CACHED
    return min(max(numbers // rows, fewest), _BLOCK)


def lower_products(rows: Tensor, turned: Callable[[Tensor], Tensor] | None = None) -> list[Block]:
    """``<turned(row_i), row_j>`` for j <= i.

    Args:
        rows: Shape (K, ...).
        turned: From some of the rows, shape (c, ...), to c others of as many elements; default the
            same. It makes few at a time, so that no second copy of all rows exists; they are used
            up before the next call.

    Returns:
        Blocks that cover the lower triangle of the (K, K) matrix; what they hold above the diagonal
        does not count.
    """
    count = rows.shape[0]
    flat = rows.reshape(count, -1)
    if turned is None:
        return [(0, 0, lower_product(flat))]
    products: list[Block] = []
    for start in range(0, count, _TASKS):
        end = min(start + _TASKS, count)
        left = turned(rows[start:end]).reshape(end - start, -1)
        products.append((start, 0, long_product(left, flat[:end])))
    return products


def dot_products(
    rows: Sequence[Tensor], turned: Callable[[Tensor], Tensor] | None = None
) -> list[Block]:
    """The same for a few rows, each by itself.

    Args:
        rows: K tensors of a shape.
        turned: From one of them to another of as many elements; default the same.

    Returns:
        The products, of shape ().
    """
    flat = [row.reshape(-1) for row in rows]
    dot = torch.dot if flat[0].numel() <= _BLOCK else _long_dot
    products: list[Block] = []
    for i, row in enumerate(rows):
        left = flat[i] if turned is None else turned(row).reshape(-1)
        products += [(i, j, dot(left, flat[j])) for j in range(i + 1)]
    return products


def _long_dot(left: Tensor, right: Tensor) -> Tensor:
    return long_product(left.unsqueeze(0), right.unsqueeze(0)).view(())


def symmetric_sum(blocks: Sequence[Block], size: int) -> NDArray[np.float64]:
    """The sum of symmetric matrices that :func:`lower_products` and :func:`dot_products` gave.

    Args:
        blocks: Blocks of all of them.
        size: K.

    Returns:
        Shape (K, K), float64; read in one transfer where all are on one device.
    """
    if all(entries.is_cpu and not entries.dim() for _, _, entries in blocks):
        sums = [[0.0] * size for _ in range(size)]
        for row, column, entry in blocks:
            sums[row][column] += entry.item()
            sums[column][row] = sums[row][column]
        return np.array(sums)
    tensors = [entries for _, _, entries in blocks]
    if len({tensor.device for tensor in tensors}) > 1:
        tensors = [tensor.to("cpu") for tensor in tensors]
    lower: NDArray[np.float64] = np.zeros((size, size))
    together = torch.cat([tensor.reshape(-1) for tensor in tensors])
    flat, start = together.to("cpu", torch.float64).numpy(), 0
    for row, column, entries in blocks:
        height, width = entries.shape or (1, 1)
        end = start + height * width
        part = flat[start:end].reshape(height, width)
        lower[row : row + height, column : column + width] += part
        start = end
    return mirrored(lower)


def mirrored(lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric matrix with this lower triangle, shape (K, K)."""
    return np.where(_lower_triangle(len(lower)), lower, lower.T)


@functools.cache
def _lower_triangle(size: int) -> NDArray[np.bool_]:
    lower: NDArray[np.bool_] = np.tri(size, dtype=bool)
    return lower
