"""Dynamic weight average: more weight to losses that fall more slowly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.core.plain_numbers import softmax

__all__ = ["DWA"]

Rows = slice | NDArray[np.int64]


class DWA(LossWeighting):
    """Weights tasks by how little their losses fell lately.

    With ``r_k = L_k(t-1) / L_k(t-2)``, the ratio of the mean losses of the last two epochs, the
    weights are ``w = K softmax(r / T)``. A task with fewer than two epochs counts with ``r_k = 1``,
    so that the first two epochs have equal weights. Tell epochs with :meth:`end_epoch`, or take
    windows of iterations instead of epochs (``level="iterations"``), the last of which ends with
    the present step. A task that is missing from a
    batch or an epoch keeps its history.

    Source: Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention" (CVPR 2019),
    equation 7.
    """

    name: ClassVar[str] = "dwa"
    summary: ClassVar[str] = "Dynamic weight average: more weight to losses that fall more slowly."
    paper: ClassVar[str] = "Liu, Johns and Davison, CVPR 2019, equation 7"
    equation: ClassVar[str] = "w = K softmax(r / T), r_k = L_k(t-1) / L_k(t-2)"
    scale_law: ClassVar[str] = "invariant"
    same_as: ClassVar[tuple[str, ...]] = ("ls",)
    deviations: ClassVar[tuple[str, ...]] = (
        "The paper and LibMTL compare epochs (the default); the Nash-MTL family compares windows "
        "of 25 iterations (level='iterations').",
        "The Nash-MTL family fills the windows with ones and reads them as soon as the last one is "
        "real (first_window='ones'); here both windows must be full.",
        "The Nash-MTL family averages the weighted losses (weight_sum='one'), the paper and LibMTL "
        "sum them (the default).",
    )

    temperature: float = hyperparameter(
        2.0,
        low=0.0,
        low_open=True,
        search=(0.5, 5.0),
        log=True,
        source="the paper and LibMTL: 2",
        description="Softness T of the weights; large for equal weights.",
    )
    level: str = hyperparameter(
        "epochs",
        choices=("epochs", "iterations"),
        source="epochs: the paper; iterations: Nash-MTL code",
        description="What the two mean losses of the ratio are taken over.",
    )
    window: int = hyperparameter(
        25,
        low=1,
        source="Nash-MTL code: 25",
        description="Length of each of the two windows, in iterations (level='iterations').",
    )
    first_window: str = hyperparameter(
        "full",
        choices=("full", "ones"),
        source="ones: Nash-MTL code",
        description="Whether to wait for two full windows, or to fill the first with ones.",
    )
    weight_sum: str = hyperparameter(
        "tasks",
        choices=("tasks", "one"),
        source="tasks: equation 7; one: Nash-MTL code",
        description="What the weights of a batch sum to: its number of tasks, or 1.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0, unless a window holds ones."""
        ones = self.level == "iterations" and self.first_window == "ones"
        return None if ones else 0.0

    @property
    def awaits_epoch(self) -> bool:
        """With ``level="epochs"``, until an epoch was told."""
        seen: Tensor | None = self.state.get("seen")
        return self.level == "epochs" and (seen is None or not bool(seen.any()))

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        count = len(self.tasks)
        length = 2 * (self.window if self.level == "iterations" else 1)
        self.state["history"] = torch.ones(count, length, dtype=torch.float64, device="cpu")
        self.state["seen"] = torch.zeros(count, dtype=torch.int64, device="cpu")

    def _append(self, rows: Rows, values: NDArray[np.float64]) -> None:
        history = self.state["history"].numpy()  # views: changed in place
        history[rows, :-1] = history[rows, 1:]
        history[rows, -1] = values
        self.state["seen"].numpy()[rows] += 1

    def _ratios(self, rows: Rows) -> list[float]:
        """Ratio of the last to the previous mean loss, 1 where there is none; K numbers."""
        history = self.state["history"].numpy()[rows].tolist()
        half = len(history[0]) // 2
        early = self.level == "iterations" and self.first_window == "ones"
        enough = half + 2 if early else 2 * half
        ratios, flat = [], False
        for seen, losses in zip(self.state["seen"].numpy()[rows].tolist(), history, strict=True):
            before = _mean(losses[:half]) if seen >= enough else 0.0
            ratios.append(_mean(losses[half:]) / before if before else 1.0)
            flat = flat or (seen >= enough and not before)
        if flat:
            self._event("zero_mean_loss", "a mean loss is 0: its ratio counts as 1")
        return ratios

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """``K softmax(r / T)`` over the tasks of the batch, K numbers."""
        rows = slice(None) if inputs.tasks == self.tasks else inputs.index.numpy()
        if self.level == "iterations":
            self._append(rows, np.array(inputs.numbers))
        shares = softmax([ratio / self.temperature for ratio in self._ratios(rows)])
        total = len(shares) if self.weight_sum == "tasks" else 1
        return [total * share for share in shares]

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Remembers the mean training losses of the epoch (``level="epochs"``)."""
        told = [k for k, task in enumerate(self.tasks) if task in train_losses]
        if self.level == "epochs" and told:
            values = [float(train_losses[self.tasks[k]]) for k in told]
            self._append(np.array(told), np.array(values))


def _mean(losses: list[float]) -> float:
    count = len(losses)
    return math.fsum(loss / count for loss in losses) if count > 1 else losses[0]
