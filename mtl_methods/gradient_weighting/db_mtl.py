"""DB-MTL: log-losses and gradients of equal length."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination, GradientCombination
from mtl_methods.core.method import StepInputs
from mtl_methods.core.positive import loss_floor_option, losses_above_floor
from mtl_methods.errors import ConfigurationError
from mtl_methods.gradient_weighting.per_coordinate import rows_of_all_tasks

__all__ = ["DBMTL"]


class DBMTL(GradientCombination):
    """Balances loss scales by logarithms and gradient lengths by the longest.

    With ``g_k`` the gradient of ``log l_k``, an exponential moving average
    ``G_k <- beta_t G_k + (1 - beta_t) g_k`` with ``beta_t = forgetting_rate / t^decay`` (started
    at 0) is kept per task, and the update is ``max_i |G_i| sum_k G_k / |G_k|``. Heads get the
    gradients of the log-losses, ``1 / l_k`` times their own.

    With a forgetting rate of 0 the effective weights are ``max_i |g_i| / (|g_k| l_k)``; otherwise
    past gradients enter the update, and there are none. A task that is missing from a batch keeps
    its average and its count of steps. In a composition the loss weighting weights the log-losses.

    Source: Lin et al., "Dual-Balancing for Multi-Task Learning" (Neural Networks 2025,
    arXiv:2308.12029), Algorithm 1.
    """

    name: ClassVar[str] = "db_mtl"
    summary: ClassVar[str] = "DB-MTL: log-losses, and averaged gradients of equal length."
    paper: ClassVar[str] = "Lin et al., arXiv:2308.12029, Algorithm 1"
    equation: ClassVar[str] = (
        "d = max_i |G_i| sum_k G_k / |G_k|, G_k <- b G_k + (1 - b) grad log l_k"
    )
    scale_law: ClassVar[str] = "1/s, without memory"
    deviations: ClassVar[tuple[str, ...]] = (
        "LibMTL takes log(l + 1e-8) and divides by |G_k| + 1e-8 (loss_floor=-1e-8, "
        "epsilon=1e-8); the paper adds nothing (the default): an average of length 0 adds "
        "nothing, a loss that is not above loss_floor is an error.",
        "LibMTL logs ones as weights; here there are none while past gradients play a part.",
    )

    head_weighting: str = hyperparameter(
        "unit",
        choices=("unit", "same"),
        source="Algorithm 1: heads descend the log-losses",
        description="Weights of the heads' log-losses: 1, or (without memory) the shared ones.",
    )
    gradients_on: str = hyperparameter(
        "parameters",
        choices=("parameters",),
        source="the moving average needs coordinates that last",
        description="Where task gradients are taken: on the shared parameters.",
    )
    forgetting_rate: float = hyperparameter(
        0.9,
        low=0.0,
        high=1.0,
        high_open=True,
        search=(0.1, 0.9),
        source="LibMTL: 0.9; the paper's grid: 0.1 to 0.9",
        description="beta: share of the past in the averaged gradients; 0 for none.",
    )
    decay: float = hyperparameter(
        0.0,
        low=0.0,
        search=(0.0, 0.5),
        source="the paper's grid: 0 and 0.5; LibMTL: 0 (DB_beta_sigma)",
        description="The share of the past shrinks with the step t as t^-decay.",
    )
    loss_floor: float = loss_floor_option()
    epsilon: float = hyperparameter(
        0.0,
        low=0.0,
        source="LibMTL: 1e-8",
        description="Added to the lengths that are divided by.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_weighting == "same" and self.forgetting_rate > 0.0:
            raise ConfigurationError(
                "db_mtl: head_weighting='same' needs effective weights, which exist only for "
                f"forgetting_rate = 0, not {self.forgetting_rate:g}"
            )

    @property
    def scale_exponent(self) -> float | None:
        """-1 without floor, memory (which hides the weights) and epsilon."""
        plain = self.loss_floor == self.epsilon == self.forgetting_rate == 0.0
        return -1.0 if plain else None

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.state["average"] = None
        self.state["steps"] = torch.zeros(len(self.tasks), dtype=torch.int64, device="cpu")

    def _step_with_coefficients(
        self, inputs: StepInputs, coefficients: NDArray[np.float64] | None
    ) -> None:
        slopes = losses_above_floor(self.name, inputs, self.loss_floor).reciprocal().numpy()
        scales = slopes if coefficients is None else slopes * coefficients
        super()._step_with_coefficients(inputs, scales)

    def combine(self, matrix: Tensor, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The averaged gradients, all stretched to the longest, and added."""
        if self.forgetting_rate == 0.0:
            return Combination(weights=self._stretch(np.sqrt(gram.diagonal())))
        averages = rows_of_all_tasks(self, "average", matrix)
        steps: Tensor = self.state["steps"]
        rows = inputs.index.tolist()
        for k, row in enumerate(rows):
            steps[row] += 1
            kept = self.forgetting_rate / float(steps[row]) ** self.decay
            averages[row].mul_(kept).add_(matrix[k], alpha=1.0 - kept)
        norms = np.array([float(torch.linalg.vector_norm(averages[row])) for row in rows])
        factors = self._stretch(norms)
        combined = torch.zeros_like(matrix[0])
        for row, factor in zip(rows, factors.tolist(), strict=True):
            combined.add_(averages[row], alpha=factor)
        return Combination(combined=combined)

    def _stretch(self, norms: NDArray[np.float64]) -> NDArray[np.float64]:
        """``max_i |G_i| / (|G_k| + epsilon)``, 0 for lengths of 0."""
        safe = np.where(norms > 0.0, norms + self.epsilon, np.inf)
        result: NDArray[np.float64] = norms.max() / safe
        return result
