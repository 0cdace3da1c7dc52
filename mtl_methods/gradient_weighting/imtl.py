"""IMTL: IMTL-L scales the losses, IMTL-G weights the gradients of the scaled losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.plain_numbers import add_own_gradient, exponential, read_own
from mtl_methods.gradient_weighting.imtl_g import IMTLG

__all__ = ["IMTL"]


class IMTL(IMTLG):
    """Learned loss scales ``exp(s_k)`` and, on the scaled losses, IMTL-G.

    The ``s_k`` descend ``exp(s_k) l_k - s_k`` (IMTL-L), whose minimum is at ``exp(s_k) l_k = 1``;
    they are own parameters, for the caller's optimiser. Task heads get the gradient of their
    scaled loss; the shared parameters get ``sum_k w_k exp(s_k) g_k`` with the IMTL-G weights w of
    the gradients ``exp(s_k) g_k``, so that ``w_k exp(s_k)`` is the effective weight. IMTL-G does
    not look at the scale of gradients other than through ``sum w_k = 1``: the direction is that
    of ``imtl_g``, length and heads differ.

    Source: Liu et al., "Towards Impartial Multi-Task Learning" (ICLR 2021), Algorithm 1.
    """

    name: ClassVar[str] = "imtl"
    summary: ClassVar[str] = "IMTL: learned loss scales and equal gradient projections."
    paper: ClassVar[str] = "Liu et al., ICLR 2021, Algorithm 1"
    equation: ClassVar[str] = "min exp(s_k) l_k - s_k; IMTL-G on the gradients exp(s_k) g_k"
    needs: ClassVar[frozenset[Need]] = IMTLG.needs | {Need.OWN_PARAMETERS}
    scale_law: ClassVar[str] = "invariant in one step; 1/s once the scales have adapted"
    same_as: ClassVar[tuple[str, ...]] = ("imtl_g",)
    deviations: ClassVar[tuple[str, ...]] = (
        *IMTLG.deviations,
        "The paper starts at s = 0, where the first step is that of imtl_g; LibMTL does too.",
    )

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.own.log_scale = nn.Parameter(torch.zeros(len(self.tasks), device=device, dtype=dtype))
        self.state["kept_scales"] = {}

    def _step_with_coefficients(
        self, inputs: StepInputs, coefficients: NDArray[np.float64] | None
    ) -> None:
        own: nn.Parameter = self.own.log_scale  # type: ignore[assignment]
        learned = [exponential(number) for number in read_own(own, inputs)]
        values: Sequence[float] = inputs.numbers
        if coefficients is not None:
            values = (coefficients * values).tolist()
        slopes = [scale * value - 1.0 for scale, value in zip(learned, values, strict=True)]
        scales = np.array(self._scales_of_last_update(inputs.tasks, learned))
        if coefficients is not None:
            scales = coefficients * scales
        self.last_step.loss_scales = scales
        super()._step_with_coefficients(inputs, scales)
        add_own_gradient(own, inputs, slopes)

    def _scales_of_last_update(self, tasks: tuple[str, ...], learned: list[float]) -> list[float]:
        """The scales; between two updates of the weights those of the first, as the weights."""
        if self.update_weights_every == 1:
            return learned
        kept: dict[str, float] = self.state["kept_scales"]
        between = self.state["step"] % self.update_weights_every != 0
        if not between or any(task not in self.state["kept_weights"] for task in tasks):
            kept.update(zip(tasks, learned, strict=True))
        return [kept[task] for task in tasks]
