"""SDMGrad: min-norm weights, drawn towards the mean gradient, from independent batches."""

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

__all__ = ["SDMGrad"]


class SDMGrad(DoubleSampling):
    """Stochastic direction-oriented multi-objective gradient descent.

    The direction solves ``min_v |sum_k v_k g_k + lambda g_0|^2`` over the simplex, with the mean
    gradient g_0. It is followed without bias by ``steps`` projected steps

        ``v <- P(v - lr G1 (G2^T v + lambda g_0(2)))``

    on gradient matrices of two further batches, starting from the last v; then
    ``d = sum_k v_k g_k + lambda g_0`` on this batch. The effective weights are
    ``v_k + lambda / K``, of sum ``1 + lambda``. Heads get their own gradients of this batch. A task
    that is missing from one of the batches keeps its v_k; v of those present is scaled to sum 1.

    Source: Xiao, Ban and Ji, "Direction-oriented Multi-objective Learning: Simple and Provable
    Stochastic Algorithms" (NeurIPS 2023), Equation 5 and Algorithm 1.
    """

    name: ClassVar[str] = "sdmgrad"
    summary: ClassVar[str] = "SDMGrad: min-norm weights, drawn towards the mean gradient."
    paper: ClassVar[str] = "Xiao, Ban and Ji, NeurIPS 2023, Algorithm 1"
    equation: ClassVar[str] = "min_v |sum_k v_k g_k + lambda g_0|^2; d = sum_k v_k g_k + lambda g_0"
    scale_law: ClassVar[str] = "invariant with gram_scale='mean_norm'"
    deviations: ClassVar[tuple[str, ...]] = (
        "The code divides the update by 1 + lambda (rescale=true); Algorithm 1 does not (default).",
        "Algorithm 1 leaves step sizes open. As in the code, they are 5 over the squared mean norm "
        "of gradients, with momentum 0.5 (the defaults); gram_scale='none' and momentum=0 are the "
        "plain algorithm with step size lr.",
    )

    pull: float = hyperparameter(
        0.3,
        low=0.0,
        search=(0.1, 10.0),
        log=True,
        source="section 6: 0.3",
        description="The paper's lambda, towards the mean gradient; 0 is MGDA.",
    )
    steps: int = hyperparameter(
        20, low=1, source="code: 20", description="Projected steps of the weights per batch."
    )
    lr: float = hyperparameter(
        5.0,
        low=0.0,
        low_open=True,
        source="code: 5",
        description="Step size of the weights.",
    )
    momentum: float = hyperparameter(
        0.5,
        low=0.0,
        high=1.0,
        high_open=True,
        source="code: 0.5",
        description="Part of the last change of the weights that is added to the next.",
    )
    gram_scale: str = hyperparameter(
        "mean_norm",
        choices=("mean_norm", "none"),
        source="mean_norm: code",
        description="Whether products of gradients are divided by the squared mean norm.",
    )
    rescale: bool = hyperparameter(
        False,
        source="false: Algorithm 1; true: code",
        description="Whether the update is divided by 1 + lambda.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0 where products of gradients are normalised."""
        return 0.0 if self.gram_scale == "mean_norm" else None

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.state["weights"] = equal_weights(len(self.tasks))

    def find_weights(self, inputs: StepInputs, scales: NDArray[np.float64]) -> Combination:
        """Projected steps of the weights of the tasks that all batches have."""
        rows, products = self._products(inputs, scales)
        if rows:
            if self.gram_scale == "mean_norm":
                norms = np.sqrt(np.maximum(products.diagonal(), 0.0))
                products = products / (norms.mean() ** 2 or 1.0)
            towards_mean = self.pull * products.mean(axis=1)
            move_on_simplex(
                self.state["weights"],
                inputs.index.numpy()[rows],
                lambda v: self.lr * (products @ v + towards_mean),
                steps=self.steps,
                momentum=self.momentum,
            )
        present = self.state["weights"].numpy()[inputs.index.numpy()]
        total = float(present.sum())
        count = len(present)
        found = present / total if total > 0.0 else np.full(count, 1.0 / count)
        weights = found + self.pull / count
        return Combination(weights=weights / (1.0 + self.pull) if self.rescale else weights)
