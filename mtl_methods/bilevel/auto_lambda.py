"""Auto-Lambda: weights that lower the validation loss of the tasks that matter."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from mtl_methods.bilevel.hypergradient import (
    BilevelWeighting,
    hypergradient_option,
    hypergradients,
    inner_lr_option,
)
from mtl_methods.configuration import hyperparameter
from mtl_methods.core.lower_level import LowerLevel
from mtl_methods.core.method import StepInputs
from mtl_methods.core.writing import accumulate
from mtl_methods.errors import TaskError

__all__ = ["AutoLambda"]


class AutoLambda(BilevelWeighting):
    """Learns weights ``lambda_i`` so that a step down ``sum_i lambda_i l_i`` generalises.

    The weights descend ``sum_{p primary} l_p^val(theta')`` with the look-ahead
    ``theta' = theta - lr grad(sum_i lambda_i l_i^train)(theta)``; the derivative is
    ``-lr <grad L^val(theta'), grad l_i^train(theta)>``. They are own parameters: add
    ``method.parameters()`` to the optimiser as a group of their own. They may become negative,
    which is counted.

    Source: Liu et al., "Auto-Lambda: Disentangling Dynamic Task Relationships" (TMLR 2022).
    """

    name: ClassVar[str] = "auto_lambda"
    summary: ClassVar[str] = "Auto-Lambda: learned weights that lower validation losses."
    paper: ClassVar[str] = "Liu et al., TMLR 2022"
    equation: ClassVar[str] = (
        "min_lambda sum_p l_p^val(theta - lr grad sum_i lambda_i l_i^train(theta))"
    )
    backward_passes: ClassVar[str] = "1, plus 3 for the weights"
    scale_law: ClassVar[str] = "invariant in one step"
    deviations: ClassVar[tuple[str, ...]] = (
        "The paper derives the exact derivative and then takes a finite difference of length "
        "0.01 / |v| (hypergradient='finite_difference', as in its code); the default is exact.",
        "The weights are used as they are and may be negative, as in the official code (the "
        "default); LibMTL has softmax weights (parametrisation='softmax').",
        "The official look-ahead includes SGD momentum and weight decay, which do not depend on "
        "the weights; here it is a plain gradient step.",
        "The official 'validation' batch is the training set in another order; here it is what "
        "the closure gives: data held out of training.",
        "The official code moves the weights before the model; here both move in one step of the "
        "caller's optimiser.",
    )

    initial_weight: float = hyperparameter(
        0.1,
        low=0.0,
        low_open=True,
        source="code, and Tables 6 to 10 of the uniform-loss paper: 0.1",
        description="Starting value of every weight (of no consequence for softmax).",
    )
    parametrisation: str = hyperparameter(
        "raw",
        choices=("raw", "softmax"),
        source="raw: the paper; softmax: LibMTL",
        description="Weights as they are, or the softmax of the own parameters.",
    )
    negative_weights: str = hyperparameter(
        "allow",
        choices=("allow", "clip"),
        source="allow: official code; clip: projection on weights >= 0",
        description="Whether raw weights may be negative, or are cut to 0 after each step.",
    )
    primary_tasks: str | None = hyperparameter(
        None,
        kind="str",
        source="all: multi-task learning; some: auxiliary learning, as in the paper",
        description="Tasks whose validation losses count, joined by commas; default all.",
    )
    hypergradient: str = hypergradient_option()
    inner_lr: float | None = inner_lr_option()

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        wanted = self.tasks
        if self.primary_tasks is not None:
            wanted = tuple(name.strip() for name in self.primary_tasks.split(","))
            unknown = [name for name in wanted if name not in self.tasks]
            if unknown:
                raise TaskError(
                    f"auto_lambda: primary_tasks = {self.primary_tasks!r}: {unknown[0]!r} is none "
                    f"of the tasks {', '.join(self.tasks)}"
                )
        self._primary = wanted
        start = torch.full((len(self.tasks),), self.initial_weight, device=device, dtype=dtype)
        self.own.weight = nn.Parameter(start)

    def coefficients(self, inputs: StepInputs) -> Tensor:
        """The weights of the present tasks, shape (K,); their gradient goes to the parameters."""
        own: nn.Parameter = self.own.weight  # type: ignore[assignment]
        level = LowerLevel.of_step(self, inputs, self.inner_lr)
        if self.parametrisation == "raw" and self.negative_weights == "clip":
            with torch.no_grad():
                own.clamp_(min=0.0)
        index = inputs.index.to(own.device)
        with torch.enable_grad():
            weights = own[index]
            if self.parametrisation == "softmax":
                weights = torch.softmax(weights, 0)
        found, slopes = hypergradients(
            level, weights, self._primary, way=self.hypergradient, summed=True
        )
        if found:
            (gradient,) = torch.autograd.grad(weights, own, slopes[0])
            accumulate([own], [gradient], inputs.grad_scale)
        else:
            self._event("no_primary_task", "the validation batch has no primary task")
        values = weights.detach().to("cpu", torch.float64)
        if bool((values < 0.0).any()):
            self._event("negative_weight", "a weight is negative")
        return values
