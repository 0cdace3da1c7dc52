"""ExcessMTL: more weight to tasks that are far from converged."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination, GradientCombination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.per_coordinate import rows_of_all_tasks

__all__ = ["ExcessMTL"]


class ExcessMTL(GradientCombination):
    """Weights tasks by their estimated excess risk, so that noisy tasks do not take over.

    The excess risk of a task is estimated from its gradient by a second-order expansion whose
    Hessian is the diagonal of accumulated squared gradients,
    ``E_k = sum_j g_kj^2 / sqrt(sum_{s <= t} g_kj(s)^2)``, and divided by its first value. Weights
    follow by exponentiated gradient ascent, ``w_k <- w_k exp(step_size E_k / E_k(0)) / Z``. The
    step in which a task appears first only sets ``E_k(0)``.

    It keeps one number per task and shared parameter. A task that is missing from a batch keeps its
    weight and its sums; the others share the weight that they had.

    Source: He et al., "Robust Multi-Task Learning with Excess Risks" (ICML 2024),
    Algorithm 1.
    """

    name: ClassVar[str] = "excess_mtl"
    summary: ClassVar[str] = "ExcessMTL: more weight to tasks that are far from converged."
    paper: ClassVar[str] = "He et al., ICML 2024, Algorithm 1"
    equation: ClassVar[str] = (
        "w_k <- w_k exp(eta E_k / E_k(0)) / Z, E_k = sum_j g_kj^2 / sqrt(sum_s g_kj(s)^2)"
    )
    scale_law: ClassVar[str] = "invariant, for epsilon 0 and relative risks"
    deviations: ClassVar[tuple[str, ...]] = (
        "Weights lie on the simplex in the paper (the default); in LibMTL they sum to K "
        "(weight_sum='tasks').",
        "LibMTL adds 1e-7 under the root (epsilon=1e-7), the default here is nothing: a "
        "coordinate without gradient adds nothing.",
        "LibMTL offers it on features, with gradients summed over the batch; here it is refused "
        "there, since per-sample coordinates have no history.",
        "A task whose first gradient is zero has E(0) = 0, which gives NaN in LibMTL; here its "
        "first non-zero risk counts.",
    )

    head_weighting: str = hyperparameter(
        "same",
        choices=("unit", "same"),
        source="Algorithm 1: the weighted loss is minimised in all parameters",
        description="Weights of the task heads: 1, or those of the shared parameters.",
    )
    gradients_on: str = hyperparameter(
        "parameters",
        choices=("parameters",),
        source="sums of squares need coordinates that last",
        description="Where task gradients are taken: on the shared parameters.",
    )
    step_size: float = hyperparameter(
        0.01,
        low=0.0,
        search=(1e-3, 10.0),
        log=True,
        source="LibMTL: 0.01 (robust_step_size)",
        description="Step size of the exponentiated gradient ascent on the weights.",
    )
    relative: bool = hyperparameter(
        True,
        source="scale processing of the paper",
        description="Whether risks are divided by the first risk of their task.",
    )
    epsilon: float = hyperparameter(
        0.0,
        low=0.0,
        source="LibMTL: 1e-7",
        description="Added to the sums of squares under the root.",
    )
    weight_sum: str = hyperparameter(
        "one",
        choices=("one", "tasks"),
        source="one: Algorithm 1; tasks: LibMTL",
        description="What the weights of all tasks sum to: 1, or the number of tasks.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0 for relative risks without epsilon."""
        return 0.0 if self.relative and self.epsilon == 0.0 else None

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        count = len(self.tasks)
        total = 1.0 if self.weight_sum == "one" else float(count)
        equal = torch.full((count,), total / count, dtype=torch.float64, device="cpu")
        self.state["log_weights"] = equal.log()
        self.state["first_risk"] = {}
        self.state["squares"] = None

    def combine(self, matrix: Tensor, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """Moves the weights by the excess risks of this step."""
        sums = rows_of_all_tasks(self, "squares", matrix)
        first: dict[str, float] = self.state["first_risk"]
        ascent = torch.zeros(len(inputs.tasks), dtype=torch.float64, device="cpu")
        for k, (task, row) in enumerate(zip(inputs.tasks, inputs.index.tolist(), strict=True)):
            risk = self._risk(matrix[k], sums[row])
            if task not in first:
                if risk > 0.0:
                    first[task] = risk
            else:
                ascent[k] = self.step_size * (risk / first[task] if self.relative else risk)
        logs: Tensor = self.state["log_weights"]
        before = logs[inputs.index]
        moved = before + ascent
        logs[inputs.index] = moved + (torch.logsumexp(before, 0) - torch.logsumexp(moved, 0))
        return Combination(weights=torch.exp(logs[inputs.index]).numpy())

    def _risk(self, gradient: Tensor, sums: Tensor) -> float:
        """Adds a task's squared gradient to its sums (in place) and estimates its risk."""
        sums.addcmul_(gradient, gradient)
        curvature = (sums + self.epsilon).sqrt_()
        curvature.masked_fill_(curvature == 0.0, math.inf)
        terms = (gradient / curvature).mul_(gradient)
        return float(terms.sum(dtype=torch.float64))
