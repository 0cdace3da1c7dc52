"""What a task hands to its head."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["HeadGradient"]


@dataclass
class HeadGradient:
    """The gradient of one task on the leaves that are not shared, times the loss scale."""

    leaves: tuple[Tensor, ...]
    gradients: tuple[Tensor | None, ...]
