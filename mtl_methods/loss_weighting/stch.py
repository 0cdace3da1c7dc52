"""Smooth Tchebycheff scalarisation: a smooth maximum of the losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.core.plain_numbers import softmax
from mtl_methods.core.positive import loss_floor_option, numbers_above_floor
from mtl_methods.errors import TaskError

__all__ = ["STCH"]


class STCH(LossWeighting):
    """Minimises ``mu log sum_k exp(p_k (l_k - z) / mu)``, a smooth maximum of the losses.

    The effective weight of a task is ``p_k softmax(p (l - z) / mu)_k``: as ``mu -> 0`` only the
    worst task is trained (the Tchebycheff scalarisation), as ``mu`` grows the weights approach
    linear scalarisation with the preferences ``p``. The ideal point ``z`` is ``loss_floor``.

    ``form="log_nadir"`` is the form in which the published multi-task experiments ran: the losses
    are replaced by ``log(l_k / nadir_k)`` and the objective is multiplied by K, so that weights are
    ``K p_k softmax(p log(l / nadir) / mu)_k / l_k``. During the first ``warmup_epochs`` epochs it
    minimises ``sum_k p_k log l_k``; the nadir is the mean training loss of the last of them, as
    told to :meth:`end_epoch`.

    Source: Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization" (ICML
    2024); the other form as in its code in LibMTL.
    """

    name: ClassVar[str] = "stch"
    summary: ClassVar[str] = "Smooth Tchebycheff: minimises a smooth maximum of the losses."
    paper: ClassVar[str] = "Lin et al., ICML 2024"
    equation: ClassVar[str] = "min mu log sum_k exp(p_k (l_k - z) / mu)"
    scale_law: ClassVar[str] = "other; 1/s for form 'log_nadir'"
    deviations: ClassVar[tuple[str, ...]] = (
        "The paper's equation scalarises the losses (form='losses', the default); LibMTL and the "
        "published multi-task runs scalarise log(l / nadir), times K, after a warm-up "
        "(form='log_nadir').",
        "LibMTL's STCH_warmup_epoch = n stands for warmup_epochs = n + 1 here: the epoch in which "
        "it averages the nadir is still one of warm-up.",
        "LibMTL logs ones as the weights; here they are the derivatives.",
        "Preferences are 1 for every task by default, as in LibMTL; the paper has them on the "
        "simplex, which only rescales mu and the step.",
    )

    mu: float = hyperparameter(
        1.0,
        low=0.0,
        low_open=True,
        search=(0.01, 10.0),
        log=True,
        source="LibMTL: 1",
        description="Smoothing: 0 is the maximum, large is linear scalarisation.",
    )
    form: str = hyperparameter(
        "losses",
        choices=("losses", "log_nadir"),
        search=("losses", "log_nadir"),
        source="losses: the paper; log_nadir: LibMTL",
        description=(
            "What is scalarised: losses, or their logarithms relative to the nadir, which needs "
            "end_epoch after each epoch."
        ),
    )
    warmup_epochs: int = hyperparameter(
        5,
        low=1,
        source="LibMTL: STCH_warmup_epoch = 4",
        description="Epochs before the nadir is known (form='log_nadir').",
    )
    preferences: Any = hyperparameter(
        None,
        kind="weights",
        source="the paper's preference vector",
        description="Preference of each task: a mapping from task names, or a list.",
    )
    loss_floor: float = loss_floor_option()

    @property
    def scale_exponent(self) -> float | None:
        """-1 for the logarithmic form, none otherwise."""
        return -1.0 if self.form == "log_nadir" and self.loss_floor == 0.0 else None

    @property
    def awaits_epoch(self) -> bool:
        """With ``form="log_nadir"``, until an epoch was told."""
        return self.form == "log_nadir" and not self.state.get("epochs", 0)

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        given = self.preferences
        if given is None:
            table = [1.0] * len(self.tasks)
        else:
            named = given if isinstance(given[0], tuple) else zip(self.tasks, given, strict=False)
            known = dict(named)
            if len(given) != len(self.tasks) or set(known) != set(self.tasks):
                raise TaskError(
                    f"stch: preferences must name each of the tasks {', '.join(self.tasks)} once"
                )
            table = [known[task] for task in self.tasks]
        self._preferences = table
        self.state["nadir"] = {}
        self.state["epochs"] = 0

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """The derivative of the objective by each loss, K numbers."""
        preferences = [self._preferences[k] for k in inputs.index.tolist()]
        if self.form == "losses":
            distances = [loss - self.loss_floor for loss in inputs.numbers]
            shares = self._shares(preferences, distances)
            return [p * share for p, share in zip(preferences, shares, strict=True)]
        distances = numbers_above_floor(self.name, inputs.tasks, inputs.numbers, self.loss_floor)
        slopes = [p / distance for p, distance in zip(preferences, distances, strict=True)]
        nadir: dict[str, float] = self.state["nadir"]
        if any(task not in nadir for task in inputs.tasks):
            return slopes
        logs = [
            math.log(distance) - math.log(nadir[task])
            for distance, task in zip(distances, inputs.tasks, strict=True)
        ]
        shares = self._shares(preferences, logs)
        return [len(shares) * s * share for s, share in zip(slopes, shares, strict=True)]

    def _shares(self, preferences: list[float], values: list[float]) -> list[float]:
        """``softmax(p values / mu)``; differences first, since quotients may overflow."""
        products = [p * v for p, v in zip(preferences, values, strict=True)]
        largest = max(products)
        return softmax([(product - largest) / self.mu for product in products])

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Takes the nadir from the mean training losses of the last warm-up epoch."""
        self.state["epochs"] = self.state.get("epochs", 0) + 1
        if self.form == "log_nadir" and self.state["epochs"] >= self.warmup_epochs:
            nadir = self.state.setdefault("nadir", {})
            for task, value in train_losses.items():
                if task in self.tasks and value > self.loss_floor:
                    nadir.setdefault(task, float(value) - self.loss_floor)
