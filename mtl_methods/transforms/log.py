"""Logarithms of losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtl_methods.core.positive import above_floor, loss_floor_option
from mtl_methods.core.transform import LossTransform

__all__ = ["Log"]


class Log(LossTransform):
    """Replaces each loss by its logarithm, so that its scale has no influence.

    The gradient of a task becomes ``g_k / l_k``. With equal weights (``log+ls``) it is SI; it is
    the limit alpha -> 1 of the alpha-fair transform.

    Source: Navon et al., "Multi-Task Learning as a Bargaining Game" (ICML 2022), section 6 (SI);
    Lin et al., "Dual-Balancing for Multi-Task Learning" (2025), Table 5, before other methods.
    """

    name: ClassVar[str] = "log"
    summary: ClassVar[str] = "Logarithms: the scale of a loss has no influence."
    paper: ClassVar[str] = "Navon et al., ICML 2022; Lin et al., arXiv:2308.12029"
    equation: ClassVar[str] = "log(l)"
    deviations: ClassVar[tuple[str, ...]] = (
        "Published code adds 1e-8 under the logarithm (loss_floor=-1e-8); the default adds nothing "
        "and refuses losses that are not positive.",
    )

    loss_floor: float = loss_floor_option()

    def __call__(self, tasks: Sequence[str], losses: Tensor) -> Tensor:
        """``log(l - loss_floor)``, shape (K,)."""
        return torch.log(above_floor(self.name, tuple(tasks), losses, self.loss_floor))
