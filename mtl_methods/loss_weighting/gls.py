"""Geometric loss strategy: the geometric mean of the losses."""

from __future__ import annotations

import math
from typing import ClassVar

from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.core.plain_numbers import exponential
from mtl_methods.core.positive import loss_floor_option, numbers_above_floor

__all__ = ["GLS"]


class GLS(LossWeighting):
    """Minimises the geometric mean ``(prod_k l_k)^(1/K)`` of the losses of the batch.

    The effective weight of a task is ``GM / (K l_k)`` with the geometric mean ``GM``, computed
    from logarithms, so that forty small losses do not underflow.

    Source: Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
    Strategy for Multi-Task Learning" (CVPR workshops 2019).
    """

    name: ClassVar[str] = "gls"
    summary: ClassVar[str] = "Geometric loss strategy: minimises the geometric mean of the losses."
    paper: ClassVar[str] = "Chennupati et al., CVPR workshops 2019"
    equation: ClassVar[str] = "min (prod_k l_k)^(1/K)"
    scale_law: ClassVar[str] = "invariant"
    deviations: ClassVar[tuple[str, ...]] = (
        "LibMTL logs l_k / (K prod l) as the weight, which is not the derivative; the gradient it "
        "takes is the same as here.",
        "LibMTL multiplies the losses, which under- or overflows for many tasks; here logarithms "
        "are averaged.",
    )

    loss_floor: float = loss_floor_option()

    @property
    def scale_exponent(self) -> float | None:
        """0, unless a floor other than 0 breaks the law."""
        return 0.0 if self.loss_floor == 0.0 else None

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """``GM / (K (l_k - loss_floor))``, K numbers."""
        distances = numbers_above_floor(self.name, inputs.tasks, inputs.numbers, self.loss_floor)
        logs = [math.log(distance) for distance in distances]
        mean, count = math.fsum(logs) / len(logs), len(logs)
        return [exponential(mean - log) / count for log in logs]
