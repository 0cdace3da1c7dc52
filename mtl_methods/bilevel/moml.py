"""MOML: weights that lower all validation losses at once."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
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
from mtl_methods.errors import ConfigurationError
from mtl_methods.solvers.min_norm import solve_min_norm

__all__ = ["MOML"]


class MOML(BilevelWeighting):
    """Learns softmax weights by multi-objective descent on the validation losses.

    Lower level: ``inner_steps`` descent steps on ``sum_i w_i l_i^train``, ``w = softmax(alpha)``.
    Upper level: the vector of validation losses after them; its K gradients by ``alpha`` are
    combined by MGDA (the shortest vector of their convex hull, solved exactly), and ``alpha``
    descends along it. The ``alpha`` are own parameters: add ``method.parameters()`` to the
    optimiser as a group of their own.

    Source: Ye et al., "Multi-Objective Meta Learning" (NeurIPS 2021).
    """

    name: ClassVar[str] = "moml"
    summary: ClassVar[str] = "MOML: learned weights that lower all validation losses at once."
    paper: ClassVar[str] = "Ye et al., NeurIPS 2021"
    equation: ClassVar[str] = (
        "min_alpha (l_1^val, ..., l_K^val)(theta - lr grad sum_i softmax(alpha)_i l_i^train(theta))"
    )
    backward_passes: ClassVar[str] = "1, plus 1 + 2K for the weights"
    scale_law: ClassVar[str] = "invariant in one step"
    deviations: ClassVar[tuple[str, ...]] = (
        "LibMTL divides the K upper gradients by their lengths before MGDA (normalisation='l2'); "
        "the paper does not (the default).",
        "LibMTL supports one inner step and an inner learning rate of its own (inner_lr = 0.1); "
        "here any number, with the model's learning rate by default.",
        "LibMTL moves the weights before the model; here both move in one step of the caller's "
        "optimiser.",
    )

    inner_steps: int = hyperparameter(
        1,
        low=1,
        source="LibMTL: 1",
        description="Descent steps of the look-ahead.",
    )
    normalisation: str = hyperparameter(
        "none",
        choices=("none", "l2"),
        search=("none", "l2"),
        source="none: the paper; l2: LibMTL",
        description="Whether upper gradients are divided by their lengths before MGDA.",
    )
    hypergradient: str = hypergradient_option()
    inner_lr: float | None = inner_lr_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hypergradient == "finite_difference" and self.inner_steps > 1:
            raise ConfigurationError(
                "moml: hypergradient='finite_difference' is for inner_steps = 1, not "
                f"{self.inner_steps}"
            )

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.own.alpha = nn.Parameter(torch.zeros(len(self.tasks), device=device, dtype=dtype))

    def coefficients(self, inputs: StepInputs) -> Tensor:
        """``softmax(alpha)`` over the present tasks, shape (K,)."""
        own: nn.Parameter = self.own.alpha  # type: ignore[assignment]
        level = LowerLevel.of_step(self, inputs, self.inner_lr)
        with torch.enable_grad():
            weights = torch.softmax(own[inputs.index.to(own.device)], 0)
        found, slopes = hypergradients(
            level, weights, self.tasks, way=self.hypergradient, steps=self.inner_steps
        )
        if found:
            upper = torch.stack(
                [
                    torch.autograd.grad(weights, own, slope, retain_graph=True)[0]
                    for slope in slopes.unbind()
                ]
            )
            accumulate([own], [self._common_descent(upper)], inputs.grad_scale)
        else:
            self._event("no_validation_loss", "the validation batch has none of the tasks")
        return weights.detach().to("cpu", torch.float64)

    def _common_descent(self, upper: Tensor) -> Tensor:
        """The shortest convex combination of the upper gradients (rows)."""
        rows = upper.to("cpu", torch.float64).numpy()
        if self.normalisation == "l2":
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.where(lengths > 0.0, lengths, 1.0)
        solution = solve_min_norm(rows @ rows.T)
        self.last_step.residual = solution.residual
        self.last_step.iterations = solution.iterations
        if solution.status != "converged":
            self._event("solver_inaccurate", "the min-norm solver missed its tolerance")
        return torch.from_numpy(solution.weights @ rows).to(upper)
