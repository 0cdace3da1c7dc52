"""Uncertainty weighting: a learned variance per task."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.plain_numbers import add_own_gradient, exponential, read_own

__all__ = ["UW"]


class UW(LossWeighting):
    """Learns a log-variance ``s_k`` per task with the model.

    The objective is ``sum_k (exp(-s_k) l_k + s_k) / 2``, so that a task's effective weight is
    ``exp(-s_k) / 2``. The ``s_k`` are own parameters: add ``method.parameters()`` to the optimiser
    as a group of their own. Published trainers that forgot it trained equal weights.

    Source: Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for
    Scene Geometry and Semantics" (CVPR 2018), section 3.
    """

    name: ClassVar[str] = "uw"
    summary: ClassVar[str] = "Uncertainty weighting: learns one variance per task."
    paper: ClassVar[str] = "Kendall, Gal and Cipolla, CVPR 2018"
    equation: ClassVar[str] = "min sum_k (exp(-s_k) l_k + s_k) / 2"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.OWN_PARAMETERS})
    scale_law: ClassVar[str] = "invariant in one step; 1/s once the variances have adapted"
    deviations: ClassVar[tuple[str, ...]] = (
        "LibMTL starts at s = -0.5, the Nash-MTL family at 0 (the default here).",
        "The Nash-MTL family logs exp(-s) as the weight; the effective weight is half of it.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: given the variances, weights do not depend on the losses."""
        return 0.0

    initial_log_variance: float = hyperparameter(
        0.0,
        low=-10.0,
        high=10.0,
        source="Nash-MTL code: 0; LibMTL: -0.5",
        description="Starting value of every s_k.",
    )

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        start = torch.full(
            (len(self.tasks),), self.initial_log_variance, device=device, dtype=dtype
        )
        self.own.log_variance = nn.Parameter(start)

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """``exp(-s_k) / 2``, K numbers; the s_k get ``(1 - exp(-s_k) l_k) / 2``."""
        own: nn.Parameter = self.own.log_variance  # type: ignore[assignment]
        coefficients = [0.5 * exponential(-number) for number in read_own(own, inputs)]
        gradient = [0.5 - c * loss for c, loss in zip(coefficients, inputs.numbers, strict=True)]
        add_own_gradient(own, inputs, gradient)
        return coefficients
