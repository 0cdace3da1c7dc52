"""FAMO: decreases all losses at an equal rate, from losses alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.inputs import loss_numbers
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.plain_numbers import softmax
from mtl_methods.core.positive import loss_floor_option, numbers_above_floor

__all__ = ["FAMO"]

_BETA_1, _BETA_2, _ADAM_EPSILON = 0.9, 0.999, 1e-8  # Adam's published defaults
_MOVING = ("logits", "first_moment", "second_moment", "updates")


class FAMO(LossWeighting):
    """Weights losses so that their logarithms fall at an equal rate.

    With logits ``xi``, ``z = softmax(xi)`` and ``D_k = l_k - loss_floor``, the update is
    ``c sum_k z_k grad(log D_k)`` with ``c = 1 / sum_k (z_k / D_k)``, so that the effective weights
    ``c z_k / D_k`` sum to 1. After the optimiser's step the losses of the same batch are told to
    :meth:`after_step`, and the logits move against ``delta = J(xi)^T (log D - log D')`` with the
    Jacobian ``J`` of the softmax, decayed by ``gamma``.

    A task that is missing from a batch keeps its logit; the softmax is over the present ones.

    Source: Liu et al., "FAMO: Fast Adaptive Multitask Optimization" (NeurIPS 2023), Algorithm 1
    for the weights, Algorithm 2 (Appendix C) for the optimiser of the logits.
    """

    name: ClassVar[str] = "famo"
    summary: ClassVar[str] = "FAMO: equal rates of decrease of the log losses."
    paper: ClassVar[str] = "Liu et al., NeurIPS 2023"
    equation: ClassVar[str] = "w_k = c z_k / l_k, z = softmax(xi), xi <- xi - lr (delta + gamma xi)"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.LOSSES_AFTER_STEP})
    scale_law: ClassVar[str] = "invariant"
    deviations: ClassVar[tuple[str, ...]] = (
        "Algorithm 1 moves the logits by plain gradient descent, Algorithm 2 of the same paper and "
        "all published code by Adam with weight decay (the default here); "
        "logit_optimizer='sgd' is Algorithm 1.",
        "gamma is 1e-3 in Algorithm 2 and in most of the published runs (the default here), 1e-5 "
        "in the constructor of the code, 1e-2 on its command line.",
        "The published code clips gradients before they exist; nothing is clipped here.",
        "Algorithm 2 and the code add 1e-8 to every loss (here loss_floor=-1e-8).",
        "The code logs z as the weights; the effective weights are c z / D.",
        "update_from='next_batch' is the toy problem's way: no second forward pass.",
    )

    w_lr: float = hyperparameter(
        0.025,
        low=0.0,
        search=(0.001, 0.1),
        log=True,
        source="FAMO Algorithm 2 and code: 0.025",
        description="Learning rate of the logits.",
    )
    gamma: float = hyperparameter(
        1e-3,
        low=0.0,
        search=(1e-4, 1e-2),
        log=True,
        source="FAMO Algorithm 2: 1e-3; code 1e-5 to 1e-2; grid of the uniform-loss paper",
        description="Decay of the logits towards equal weights.",
    )
    loss_floor: float = loss_floor_option()
    logit_optimizer: str = hyperparameter(
        "adam",
        choices=("adam", "sgd"),
        source="FAMO Algorithm 2 (adam), Algorithm 1 (sgd)",
        description="How the logits move.",
    )
    update_from: str = hyperparameter(
        "same_batch",
        choices=("same_batch", "next_batch"),
        source="FAMO Algorithm 1 (same batch); toy problem of its code (next batch)",
        description=(
            "Losses that judge a step: the same batch's after it (a second forward pass, told to "
            "after_step), or the next batch's before its own step (free)."
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.update_from == "next_batch":
            vars(self)["needs"] = self.needs - {Need.LOSSES_AFTER_STEP}

    @property
    def scale_exponent(self) -> float | None:
        """0 where losses are compared with 0; ``None`` with another floor."""
        return 0.0 if self.loss_floor == 0.0 else None

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.state = {
            **{key: [0.0] * len(self.tasks) for key in _MOVING},
            "pending": {},  # task -> log D before the step that is still to be judged
        }

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """``c z_k / D_k``, K numbers."""
        logs = self._logs(inputs.tasks, inputs.numbers)
        told = dict(zip(inputs.tasks, logs, strict=True))
        if self.state["pending"]:
            if self.update_from == "next_batch":
                self._judge(told)
            else:
                self._event(
                    "no_losses_after_step",
                    "the logits did not move because after_step was not called",
                )
        self.state["pending"] = told
        logits: list[float] = self.state["logits"]
        if inputs.tasks != self.tasks:
            logits = [logits[k] for k in inputs.index.tolist()]
        # z_k / D_k over its sum, also where 1 / D_k is beyond the range of numbers
        return softmax([logit - log for logit, log in zip(logits, logs, strict=True)])

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Moves the logits by the losses of the same batch after the optimiser's step.

        Args:
            losses: Scalar tensors; tasks that the step did not have are ignored.

        Raises:
            NonFiniteLossError: If a loss is NaN or infinite.
            TaskError: If a loss is no scalar or not above ``loss_floor``.
        """
        if self.update_from == "next_batch" or not self.state.get("pending"):
            return
        tasks = [task for task in self.state["pending"] if task in losses]
        if not tasks:
            self.state["pending"] = {}
            return
        values = loss_numbers(self.name, tasks, [losses[task] for task in tasks])
        self._judge(dict(zip(tasks, self._logs(tasks, values), strict=True)))

    def _logs(self, tasks: Sequence[str], values: Sequence[float]) -> list[float]:
        """``log D`` of each task."""
        distances = numbers_above_floor(self.name, tasks, values, self.loss_floor)
        return [math.log(distance) for distance in distances]

    def _judge(self, logs: Mapping[str, float]) -> None:
        """Moves the logits."""
        before: dict[str, float] = self.state["pending"]
        self.state["pending"] = {}
        logits, first, second, updates = (self.state[key] for key in _MOVING)
        rows, present, change = [], [], []
        for k, task in enumerate(self.tasks):
            if task in before and task in logs:
                rows.append(k)
                present.append(logits[k])
                change.append(before[task] - logs[task])
        if not rows:
            return
        shares = softmax(present)
        mean = math.fsum(z * c for z, c in zip(shares, change, strict=True))
        w_lr, gamma, is_adam = self.w_lr, self.gamma, self.logit_optimizer == "adam"
        for k, z, c in zip(rows, shares, change, strict=True):
            step = z * (c - mean) + gamma * logits[k]
            if is_adam:
                updates[k] += 1.0
                first[k] = _BETA_1 * first[k] + (1.0 - _BETA_1) * step
                second[k] = _BETA_2 * second[k] + (1.0 - _BETA_2) * step * step
                root = math.sqrt(second[k] / (1.0 - _BETA_2 ** updates[k])) + _ADAM_EPSILON
                step = first[k] / (1.0 - _BETA_1 ** updates[k]) / root
            logits[k] -= w_lr * step
