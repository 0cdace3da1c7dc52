"""MoDo: min-norm weights followed with products of two independent batches."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.extra_batches import DoubleSampling
from mtl_methods.gradient_weighting.tracked_simplex import equal_weights, move_on_simplex

__all__ = ["MoDo"]


class MoDo(DoubleSampling):
    """Multi-objective gradient with double sampling.

    With gradient matrices G1, G2 of two further batches at the same parameters,

        ``v <- P(v - gamma (G1 G2^T + rho I) v)``,  ``d = sum_k v_k g_k``,

    where P projects onto the simplex, v starts at 1/K, and g_k are the gradients of this batch. v
    is the effective weight. Heads get their own gradients of this batch. A task that is missing
    from one of the batches keeps its v_k; v of those present is then scaled to sum 1.

    Source: Chen et al., "Three-Way Trade-Off in Multi-Objective Learning: Optimization,
    Generalization and Conflict-Avoidance" (NeurIPS 2023), Algorithm 1.
    """

    name: ClassVar[str] = "modo"
    summary: ClassVar[str] = "MoDo: min-norm weights from two further batches."
    paper: ClassVar[str] = "Chen et al., NeurIPS 2023, Algorithm 1"
    equation: ClassVar[str] = "v = P(v - c (G1 G2^T + rho I) v); d = sum_k v_k g_k"
    deviations: ClassVar[tuple[str, ...]] = (
        "LibMTL gives heads the mean gradient of all three batches; here that of this batch.",
    )

    gamma: float = hyperparameter(
        1e-3,
        low=0.0,
        search=(1e-4, 1.0),
        log=True,
        source="LibMTL: 0.001",
        description="Step size of the weights.",
    )
    rho: float = hyperparameter(
        0.1,
        low=0.0,
        search=(1e-3, 1.0),
        log=True,
        source="section 2.2; LibMTL: 0.1",
        description="Weight of the squared norm of the weights, which draws them together.",
    )

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.state["weights"] = equal_weights(len(self.tasks))

    def find_weights(self, inputs: StepInputs, scales: NDArray[np.float64]) -> Combination:
        """One projected step of the weights of the tasks that all batches have."""
        rows, products = self._products(inputs, scales)
        if rows:
            regularised = products + self.rho * np.eye(len(rows))
            move_on_simplex(
                self.state["weights"],
                inputs.index.numpy()[rows],
                lambda v: self.gamma * (regularised @ v),
            )
        present = self.state["weights"].numpy()[inputs.index.numpy()]
        total = float(present.sum())
        count = len(present)
        return Combination(weights=present / total if total > 0.0 else np.full(count, 1.0 / count))
