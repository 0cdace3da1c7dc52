"""IMTL-L: learned loss scales that bring all losses to the same size."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.plain_numbers import add_own_gradient, exponential, read_own

__all__ = ["IMTLL"]


class IMTLL(LossWeighting):
    """Learns a log-scale ``s_k`` per task so that all scaled losses ``exp(s_k) l_k`` become 1.

    The objective is ``sum_k (exp(s_k) l_k - s_k)``, the effective weight ``exp(s_k)``; at the
    optimum ``s_k = -log l_k`` it is the scale-invariant ``1 / l_k``. The ``s_k`` are own
    parameters: add ``method.parameters()`` to the optimiser as a group of their own. ``imtl``
    combines it with IMTL-G.

    Source: Liu et al., "Towards Impartial Multi-Task Learning" (ICLR 2021), loss balance.
    """

    name: ClassVar[str] = "imtl_l"
    summary: ClassVar[str] = "IMTL-L: learns loss scales that bring all losses to the same size."
    paper: ClassVar[str] = "Liu et al., ICLR 2021"
    equation: ClassVar[str] = "min sum_k (exp(s_k) l_k - s_k)"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.OWN_PARAMETERS})
    scale_law: ClassVar[str] = "invariant in one step; 1/s once the scales have adapted"
    same_as: ClassVar[tuple[str, ...]] = ("ls",)
    deviations: ClassVar[tuple[str, ...]] = (
        "LibMTL has it only together with IMTL-G, as imtl here; the code of the uniform-loss paper "
        "trains the scales by an Adam of its own, here they belong to the caller's optimiser.",
    )

    initial_scale: float = hyperparameter(
        0.0,
        low=-20.0,
        high=20.0,
        source="LibMTL: 0",
        description="Starting value of every s_k.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0, with the scales held fixed."""
        return 0.0

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        start = torch.full((len(self.tasks),), self.initial_scale, device=device, dtype=dtype)
        self.own.log_scale = nn.Parameter(start)

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """``exp(s_k)``, K numbers; the s_k get ``exp(s_k) l_k - 1``."""
        own: nn.Parameter = self.own.log_scale  # type: ignore[assignment]
        coefficients = [exponential(number) for number in read_own(own, inputs)]
        gradient = [c * loss - 1.0 for c, loss in zip(coefficients, inputs.numbers, strict=True)]
        add_own_gradient(own, inputs, gradient)
        return coefficients
