"""MoCo: tracks every task gradient and descends to the min-norm weights of the tracked ones."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination, GradientCombination
from mtl_methods.core.method import StepInputs
from mtl_methods.core.task_gradients import gram_matrix
from mtl_methods.gradient_weighting.common import SeesWeightedLosses
from mtl_methods.gradient_weighting.tracked_simplex import equal_weights, move_on_simplex

__all__ = ["MoCo"]

_LIBMTL_EPSILON = 1e-8  # part of the option that follows LibMTL


class MoCo(SeesWeightedLosses, GradientCombination):
    """Multi-objective gradient correction.

    At step t = 1, 2, ... with tracked gradients y_k (from 0) and weights v on the simplex (from
    1/K),

        ``y_k <- y_k - beta_t (y_k - g_k)``,
        ``v <- P(v - gamma_t (Y Y^T + rho I) v)``,  ``d = sum_k v_k y_k``,

    with P the projection onto the simplex, ``beta_t = beta / t^beta_decay`` and
    ``gamma_t = gamma / t^gamma_decay``. The update contains gradients of past steps, so it has no
    effective weights unless ``beta_t`` is 1; the v_k are in ``method.state["weights"]``. Heads get
    their own gradients. A missing task keeps y_k and v_k; v of those present is then scaled to sum
    1. The tracked gradients are as large as the gradient matrix, and are part of the state.

    Source: Fernando et al., "Mitigating Gradient Bias in Multi-objective Learning: A Provably
    Convergent Approach" (ICLR 2023), Algorithm 1.
    """

    name: ClassVar[str] = "moco"
    summary: ClassVar[str] = "MoCo: min-norm weights of tracked gradients, both followed slowly."
    paper: ClassVar[str] = "Fernando et al., ICLR 2023, Algorithm 1"
    equation: ClassVar[str] = "y += b (g - y); v = P(v - c (Y Y^T + rho I) v); d = sum_k v_k y_k"
    scale_law: ClassVar[str] = "no weights"
    deviations: ClassVar[tuple[str, ...]] = (
        "LibMTL tracks l_k g_k / (|g_k| + 1e-8) in place of g_k (gradient='loss_scaled').",
        "LibMTL takes a softmax of the weights after their step, which keeps them near equal, in "
        "place of the projection (simplex='softmax').",
    )

    beta: float = hyperparameter(
        0.5,
        low=0.0,
        high=1.0,
        low_open=True,
        search=(0.1, 1.0),
        source="LibMTL: 0.5",
        description="Share of the newest gradient in the tracked one, at the first step.",
    )
    beta_decay: float = hyperparameter(
        0.5, low=0.0, source="LibMTL: 0.5", description="Power of t by which beta falls."
    )
    gamma: float = hyperparameter(
        0.1,
        low=0.0,
        search=(1e-3, 1.0),
        log=True,
        source="LibMTL: 0.1",
        description="Step size of the weights, at the first step.",
    )
    gamma_decay: float = hyperparameter(
        0.5, low=0.0, source="LibMTL: 0.5", description="Power of t by which gamma falls."
    )
    rho: float = hyperparameter(
        0.0,
        low=0.0,
        source="section 3.2; LibMTL: 0",
        description="Weight of the squared norm of the weights, which draws them together.",
    )
    gradient: str = hyperparameter(
        "raw",
        choices=("raw", "loss_scaled"),
        source="raw: Algorithm 1; loss_scaled: LibMTL",
        description="What is tracked: gradients, or unit gradients times the loss.",
    )
    simplex: str = hyperparameter(
        "projection",
        choices=("projection", "softmax"),
        source="projection: Algorithm 1; softmax: LibMTL",
        description="How the weights are brought back to the simplex.",
    )

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.state["step"] = 0
        self.state["weights"] = equal_weights(len(self.tasks))
        self.state["tracked"] = None

    def combine(self, matrix: Tensor, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The weighted sum of the tracked gradients."""
        step: int = self.state["step"] + 1
        self.state["step"] = step
        decision = Combination()
        self._track(matrix, gram, inputs, self.beta / step**self.beta_decay, decision)
        tracked: Tensor = self.state["tracked"]
        if len(inputs.tasks) < len(self.tasks):
            tracked = tracked[inputs.index.to(tracked.device)]
        rate = self.gamma / step**self.gamma_decay
        products = gram_matrix(tracked) + self.rho * np.eye(len(tracked))
        weights = move_on_simplex(
            self.state["weights"],
            inputs.index.numpy(),
            lambda v: rate * (products @ v),
            softmax=self.simplex == "softmax",
        )
        decision.combined = torch.from_numpy(weights).to(tracked) @ tracked
        return decision

    def _track(
        self,
        matrix: Tensor,
        gram: NDArray[np.float64],
        inputs: StepInputs,
        rate: float,
        decision: Combination,
    ) -> None:
        """Moves the tracked gradients of the present tasks."""
        factors = np.ones(len(matrix))
        if self.gradient == "loss_scaled":
            norms = np.sqrt(gram.diagonal())
            factors = inputs.values.numpy() / (norms + _LIBMTL_EPSILON)
        tracked: Tensor | None = self.state["tracked"]
        width = matrix.shape[1]
        if tracked is None or tracked.shape[1] != width:
            if tracked is not None:
                sentence = "the number of shared coordinates changed: tracking starts anew"
                decision.events.append(("restarted_tracking", sentence))
            tracked = matrix.new_zeros(len(self.tasks), width)
        tracked = tracked.to(matrix)
        for position, row, factor in zip(
            inputs.index.tolist(), matrix, factors.tolist(), strict=True
        ):
            tracked[position].lerp_(row if factor == 1.0 else row * factor, rate)
        self.state["tracked"] = tracked
