"""What a task hands to its head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mtl_methods.core.writing import accumulate_weighted

__all__ = ["HeadGradient", "write_heads"]


@dataclass
class HeadGradient:
    """The gradient of one task on the leaves that are not shared, times the loss scale."""

    leaves: tuple[Tensor, ...]
    gradients: tuple[Tensor | None, ...]


def write_heads(heads: Sequence[HeadGradient], factors: Sequence[float]) -> None:
    """Adds ``factors[k]`` times task k's gradient to ``.grad`` of its leaves."""
    leaves: list[Tensor] = []
    gradients: list[Tensor | None] = []
    numbers: list[float] = []
    for head, factor in zip(heads, factors, strict=True):
        leaves += head.leaves
        gradients += head.gradients
        numbers += [factor] * len(head.leaves)
    accumulate_weighted(leaves, gradients, numbers)
