"""The alpha-fair loss transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.positive import above_floor, loss_floor_option
from mtl_methods.core.transform import LossTransform

__all__ = ["AlphaFair"]


class AlphaFair(LossTransform):
    """Replaces each loss by ``l^(1 - alpha) / (1 - alpha)``, for alpha = 1 by ``log l``.

    The gradient of a task becomes ``g_k / l_k^alpha``: 0 leaves losses as they are, 1 removes
    their scales, and towards minus infinity only the largest loss counts (minimax fairness).

    Source: Ban and Ji, "Fair Resource Allocation in Multi-Task Learning" (ICML 2024), section 6,
    equation 5.
    """

    name: ClassVar[str] = "alpha_fair"
    summary: ClassVar[str] = "Alpha-fair: between the losses (0) and their logarithms (1)."
    paper: ClassVar[str] = "Ban and Ji, ICML 2024, equation 5"
    equation: ClassVar[str] = "l^(1 - alpha) / (1 - alpha)"
    deviations: ClassVar[tuple[str, ...]] = (
        "There is no published code. Equation 5 is for alpha < 1; here alpha = 1 is its limit up "
        "to a constant, the logarithm, and larger values are the same formula, which is still "
        "increasing.",
    )

    alpha: float = hyperparameter(
        0.5,
        low=-100.0,
        high=100.0,
        search=(0.0, 1.0),
        source="section 6: alpha < 1; Tables 6 and 7: 0.5",
        description="How far the scales of losses are removed: 0 not at all, 1 fully.",
    )
    loss_floor: float = loss_floor_option()

    def __call__(self, tasks: Sequence[str], losses: Tensor) -> Tensor:
        """``(l - loss_floor)^(1 - alpha) / (1 - alpha)``, shape (K,)."""
        rest = above_floor(self.name, tuple(tasks), losses, self.loss_floor)
        power = 1.0 - self.alpha
        return torch.log(rest) if power == 0.0 else rest.pow(power) / power
