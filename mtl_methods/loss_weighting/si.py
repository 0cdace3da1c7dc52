"""Scale-invariant baseline: the sum of log-losses."""

from __future__ import annotations

from typing import ClassVar

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.core.positive import loss_floor_option, numbers_above_floor

__all__ = ["SI"]


class SI(LossWeighting):
    """Minimises ``sum_k log(l_k)``, which no rescaling of a loss can change.

    The effective weight of a task is ``1 / l_k``. Losses must be above ``loss_floor``. It is the
    logarithmic loss transform under equal weights (``log+ls``), and the limit alpha -> 1 of the
    alpha-fair transform of the FairGrad paper, section 6.

    Source: Navon et al., "Multi-Task Learning as a Bargaining Game" (ICML 2022), section 6, the
    scale-invariant baseline.
    """

    name: ClassVar[str] = "si"
    summary: ClassVar[str] = "Scale-invariant: minimises the sum of log-losses."
    paper: ClassVar[str] = "Navon et al., ICML 2022, section 6"
    equation: ClassVar[str] = "min sum_k log(l_k)"
    scale_law: ClassVar[str] = "1/s"
    deviations: ClassVar[tuple[str, ...]] = (
        "The Nash-MTL family sums the log-losses (the default); the PIVRG supplement and the code "
        "of the uniform-loss paper average them (reduction='mean').",
        "Published code takes log(0) without a word; here a loss that is not above loss_floor is "
        "an error that names the task.",
    )

    reduction: str = hyperparameter(
        "sum",
        choices=("sum", "mean"),
        source="sum: Nash-MTL code; mean: PIVRG supplement, section 8.2",
        description="Whether log-losses are summed or averaged over the tasks of the batch.",
    )
    loss_floor: float = loss_floor_option()

    @property
    def scale_exponent(self) -> float | None:
        """-1, unless a floor other than 0 breaks the law."""
        return -1.0 if self.loss_floor == 0.0 else None

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """``1 / (l_k - loss_floor)``, over K for the mean, K numbers."""
        distances = numbers_above_floor(self.name, inputs.tasks, inputs.numbers, self.loss_floor)
        count = len(distances) if self.reduction == "mean" else 1
        return [1.0 / distance / count for distance in distances]
