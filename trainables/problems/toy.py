"""The two-objective problem of Navon et al.: two objectives of a point in the plane, no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mtl_methods.configuration import Configurable, hyperparameter
from trainables.model import MTLModel
from trainables.problem import SPLITS, Metric, Problem, Splits, Task
from trainables.toy_objectives import FLOOR, FORMS, STARTS, TASKS, objectives

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["Toy", "ToyOptions"]

_HEIGHT = Metric("height", higher_is_better=False)
_START = STARTS["fairgrad"][0]


class ToyOptions(Configurable):
    """Options of :class:`Toy`."""

    name = "toy"

    form: str = hyperparameter(
        FORMS[0],
        choices=FORMS,
        source="Nash-MTL's published code; LDC-MTL A.3; FairGrad A.1",
        description="Which of the published forms, see trainables.toy_objectives.",
    )
    scale: float = hyperparameter(
        0.1,
        low=0.0,
        low_open=True,
        source="FairGrad A.1, LDC-MTL A.3 (0.1); PIVRG 7.1 (1)",
        description="Factor on L1.",
    )
    x1: float = hyperparameter(
        _START[0], source="FairGrad A.1", description="First coordinate of the starting point."
    )
    x2: float = hyperparameter(
        _START[1], source="FairGrad A.1", description="Second coordinate of the starting point."
    )
    steps_per_epoch: int = hyperparameter(500, low=1, description="Optimiser steps of an epoch.")


class Toy(Problem[ToyOptions]):
    """Two objectives of a point in the plane (see :mod:`trainables.toy_objectives`).

    How it fits the contract of a problem with data: the point is the shared part, tasks have no
    head parameters, and an item is one optimiser step; its array ``step`` numbers these and is
    otherwise unused. Training takes batches of one item. The starting point is an option, so seeds
    change nothing (``random_model`` is false). A trial is one starting point; use
    :func:`trainables.toy_objectives.trajectories` for several at once.

    Metric ``height``: the objective above its floor, L1 + 21 scale and L2 + 21, so that it is
    positive. Losses are the objectives themselves and may be negative: give methods that need
    positive losses a ``loss_floor`` of -21.

    Source: Navon et al., "Multi-Task Learning as a Bargaining Game"; FairGrad A.1, LDC-MTL A.3,
        PIVRG 7.1.
    """

    name = "toy"
    summary = "Two objectives of a point in the plane, of very different scale; no data"
    source = "a formula (Navon et al.; FairGrad A.1; LDC-MTL A.3; PIVRG 7.1)"
    licence = "none needed"
    random_model = False
    Options = ToyOptions
    protocol: ClassVar[Mapping[str, Any]] = {
        "epochs": 100,
        "batch_size": 1,
        "optimizer": "adam",
        "lr": 0.001,
        "schedule": {"name": "none"},
    }

    @property
    def tasks(self) -> tuple[Task, ...]:
        """L1 and L2."""
        return tuple(Task(name, "value", (_HEIGHT,), f"minimise {name}") for name in TASKS)

    def sources(self) -> dict[str, npt.NDArray[np.int64]]:
        """The numbers of the steps, and one more for each other split."""
        steps = self.options.steps_per_epoch
        return dict(zip(SPLITS, np.split(np.arange(steps + 2), [steps, steps + 1]), strict=True))

    def load(self, data_dir: str | None = None) -> Splits:
        """The numbers of the steps, ``step`` (n,) int64, one item in validation and test."""
        return {split: {"step": index} for split, index in self.sources().items()}

    def build_model(
        self, tasks: Sequence[str] | None = None, *, dropout: float = 0.0, seed: int = 0
    ) -> MTLModel:
        """Builds the point at its start; dropout and seed change nothing."""
        point = _Point(self.options.x1, self.options.x2)
        heads = {task.name: nn.Identity() for task in self.choose(tasks)}
        return MTLModel(point, heads, feature_dim=2, input_key="step")

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The objectives, means over the batch of equal values."""
        return {task: self._objective(task, point).mean() for task, point in outputs.items()}

    def make_metrics(self, tasks: Sequence[str] | None = None) -> dict[str, MetricCollection]:
        """The height of each objective above its floor."""
        from torchmetrics import MeanMetric, MetricCollection

        return {
            task.name: MetricCollection({"height": MeanMetric()}) for task in self.choose(tasks)
        }

    def update_metrics(
        self,
        metrics: Mapping[str, MetricCollection],
        outputs: Mapping[str, Tensor],
        batch: Mapping[str, Tensor],
    ) -> None:
        """Adds the heights at the point."""
        for task, collection in metrics.items():
            scale = self.options.scale if task == TASKS[0] else 1.0
            collection.update(self._objective(task, outputs[task]) - FLOOR * scale)

    def _objective(self, task: str, points: Tensor) -> Tensor:
        values = objectives(points, form=self.options.form, scale=self.options.scale)
        return values[..., TASKS.index(task)]


class _Point(nn.Module):
    """The point, as the features of every item."""

    def __init__(self, x1: float, x2: float) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([x1, x2]))

    def forward(self, step: Tensor) -> Tensor:
        """Maps steps (n,) to the point, n times: (n, 2)."""
        return self.x.expand(len(step), 2)
