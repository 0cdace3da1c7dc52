"""The transform that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from mtl_methods.core.transform import LossTransform

__all__ = ["Identity"]


class Identity(LossTransform):
    """Leaves losses as they are: the neutral element of composition."""

    name: ClassVar[str] = "identity"
    summary: ClassVar[str] = "Leaves losses as they are."
    paper: ClassVar[str] = "-"
    equation: ClassVar[str] = "l"

    def __call__(self, tasks: Sequence[str], losses: Tensor) -> Tensor:
        """The losses, shape (K,)."""
        return losses
