"""GradNorm: learns loss weights that equalise gradient norms, by training rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.plain_numbers import add_own_gradient
from mtl_methods.core.positive import loss_floor_option, numbers_above_floor
from mtl_methods.gradient_weighting.common import KeepsZeroGradients, SeesWeightedLosses

__all__ = ["GradNorm"]

_SMALLEST = 1e-6  # weights are kept above it; the paper assumes that they stay positive


class GradNorm(SeesWeightedLosses, KeepsZeroGradients):
    """Learns a weight w_k per loss with the model.

    With the norms ``G_k = w_k |g_k|``, their mean ``G`` and the relative inverse training rates
    ``r_k = (l_k / l_k(0)) / mean_i (l_i / l_i(0))``, the weights descend
    ``sum_k |G_k - G r_k^alpha|`` with ``G r_k^alpha`` held fixed; then they are scaled back to sum
    K. The w_k are own parameters: add ``method.parameters()`` to the optimiser. Shared parameters
    and heads get the gradients of ``sum_k w_k l_k``; w_k is the effective weight.

    A missing task keeps its weight and its initial loss, and the mean and the sum are those of the
    tasks that are present.

    Source: Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks" (ICML 2018), Equations 1 and 2, Algorithm 1.
    """

    name: ClassVar[str] = "gradnorm"
    summary: ClassVar[str] = "GradNorm: learned weights that equalise gradient norms."
    paper: ClassVar[str] = "Chen et al., ICML 2018, Algorithm 1"
    equation: ClassVar[str] = "min_w sum_k |w_k |g_k| - G r_k^alpha|, sum w_k = K"
    needs: ClassVar[frozenset[Need]] = KeepsZeroGradients.needs | {Need.OWN_PARAMETERS}
    scale_law: ClassVar[str] = "invariant in one step"
    deviations: ClassVar[tuple[str, ...]] = (
        "The paper renormalises the weights after each of their updates (the default); LibMTL "
        "has w = K softmax(s) and learns s (parametrisation='softmax').",
        "The paper takes l_k(0) from the first step (the default); LibMTL takes the mean of the "
        "first epoch, during which weights are 1 (initial_loss='first_epoch').",
        "The paper looks at gradients of the last shared layer, to save time; here at all shared "
        "parameters, or with gradients_on='features' at the shared features.",
        "Weights are kept above 1e-6, which the paper does not say.",
    )

    head_weighting: str = hyperparameter(
        "same",
        choices=("unit", "same"),
        source="Algorithm 1: the whole network descends sum_k w_k l_k",
        description="Weights of the task heads: 1, or those of the shared parameters.",
    )
    alpha: float = hyperparameter(
        1.5,
        low=0.0,
        search=(0.1, 3.0),
        source="section 5: 1.5, and 0.12 for tasks of similar difficulty",
        description="Strength of the force towards equal training rates; 0 for equal norms.",
    )
    parametrisation: str = hyperparameter(
        "renormalised",
        choices=("renormalised", "softmax"),
        source="renormalised: Algorithm 1; softmax: LibMTL",
        description="How weights of sum K follow from the own parameters.",
    )
    initial_loss: str = hyperparameter(
        "first_step",
        choices=("first_step", "first_epoch"),
        source="first_step: section 3.1; first_epoch: LibMTL",
        description="Where l_k(0) is taken from; first_epoch needs end_epoch after each epoch.",
    )
    loss_floor: float = loss_floor_option()

    @property
    def scale_exponent(self) -> float | None:
        """0 within a step: own parameters are held fixed."""
        return 0.0

    @property
    def awaits_epoch(self) -> bool:
        """With ``initial_loss="first_epoch"``, until an epoch was told."""
        return self.initial_loss == "first_epoch" and not self.state.get("initial")

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.own.weight = nn.Parameter(torch.ones(len(self.tasks), device=device, dtype=dtype))
        self.state["initial"] = {}
        self.state["before"] = self.own.weight.detach().clone()

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Takes the initial losses from the first epoch, where the option says so."""
        if self.initial_loss == "first_epoch":
            initial: dict[str, float] = self.state["initial"]
            for task, loss in train_losses.items():
                initial.setdefault(task, loss - self.loss_floor)

    def _weights(self, inputs: StepInputs) -> NDArray[np.float64]:
        """Current weights of the present tasks."""
        own: nn.Parameter = self.own.weight  # type: ignore[assignment]
        values = np.array(own.tolist())
        if self.parametrisation == "softmax":
            powers = np.exp(values - values.max())
            values = len(values) * powers / powers.sum()
        chosen: NDArray[np.float64] = values[inputs.index.numpy()]
        return chosen

    def _renormalise(self, inputs: StepInputs) -> None:
        """Scales weights of present tasks that the optimiser has moved back to their last sum."""
        if self.parametrisation == "softmax":
            return
        own: nn.Parameter = self.own.weight  # type: ignore[assignment]
        now, before = own.tolist(), self.state["before"].tolist()
        moved = [k for k in inputs.index.tolist() if now[k] != before[k]]
        if not moved:
            return
        kept = [max(now[k], _SMALLEST) for k in moved]
        factor = sum(before[k] for k in moved) / sum(kept)
        for k, weight in zip(moved, kept, strict=True):
            now[k] = before[k] = weight * factor
        with torch.no_grad():
            own.copy_(torch.tensor(now, dtype=own.dtype, device=own.device))
        self.state["before"] = torch.tensor(before, dtype=own.dtype, device=own.device)

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The current weights; adds to their gradient what the norms say."""
        initial: dict[str, float] = self.state["initial"]
        losses = numbers_above_floor(self.name, inputs.tasks, inputs.numbers, self.loss_floor)
        if self.initial_loss == "first_step":
            for task, loss in zip(inputs.tasks, losses, strict=True):
                initial.setdefault(task, loss)
        if any(task not in initial for task in inputs.tasks):
            return Combination(weights=np.ones(len(inputs.tasks)))
        self._renormalise(inputs)
        weights = self._weights(inputs)
        norms = np.sqrt(gram.diagonal())
        progress = np.array(losses) / np.array([initial[task] for task in inputs.tasks])
        rates = progress / (progress.sum() / len(progress))  # exactly 1 for one task
        scaled = weights * norms
        goal = scaled.sum() / len(scaled) * rates**self.alpha
        self._write_own(np.sign(scaled - goal) * norms, inputs)
        return Combination(weights=weights)

    def _write_own(self, slope: NDArray[np.float64], inputs: StepInputs) -> None:
        own: nn.Parameter = self.own.weight  # type: ignore[assignment]
        if self.parametrisation == "softmax":
            weights = self._weights(inputs)
            slope = weights * (slope - weights @ slope / weights.sum())
        add_own_gradient(own, inputs, slope.tolist())
