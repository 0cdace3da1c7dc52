"""A results folder in memory, and the columns that its two tables have.

`loading.load` makes it from the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

FORMAT = 1
STATUSES = ("finished", "diverged", "failed", "pruned")
SPLITS = ("validation", "test")

TRIAL_COLUMNS = (
    "trial_id",
    "phase",
    "method",
    "variant",
    "configuration_id",
    "seed",
    "status",
    "epochs",
    "best_epoch",
    "seconds",
    "seconds_per_epoch",
)
EPOCH_COLUMNS = ("trial_id", "phase", "method", "variant", "seed", "epoch")
ERROR_COLUMNS = ("error_type", "error_message", "error_task", "error_epoch", "error_step")


@dataclass(frozen=True)
class Metric:
    """One metric of one task."""

    task: str
    name: str
    higher_is_better: bool
    unit: str = ""

    def column(self, split: str) -> str:
        """Its column in ``trials.parquet`` on a split (``"validation"`` or ``"test"``)."""
        return f"{split}.{self.task}.{self.name}"

    @property
    def label(self) -> str:
        """Task, metric and the direction that is better, for axes and table heads."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.task} {self.name}{unit} {'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True)
class Results:
    """A results folder in memory.

    Attributes:
        path: The folder.
        manifest: ``manifest.json``: versions, hardware, problem, methods, budgets.
        study: ``study.yaml`` as run, defaults resolved.
        metrics: All metrics of all tasks, in the manifest's order.
        trials: One row for each trial that ended.
        epochs: One row for each epoch of each trial.
        problems: One sentence for each thing that is wrong with the folder but leaves it usable.
    """

    path: Path
    manifest: Mapping[str, Any]
    study: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    problems: tuple[str, ...] = field(default=())

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the manifest's order."""
        return tuple(dict.fromkeys(metric.task for metric in self.metrics))

    @property
    def name(self) -> str:
        """Name of the study."""
        return str(self.manifest.get("study", self.path.name))

    @property
    def main_metrics(self) -> tuple[Metric, ...]:
        """The first metric of every task: what two-task plots show."""
        return tuple(
            next(metric for metric in self.metrics if metric.task == task) for task in self.tasks
        )

    @cached_property
    def finished(self) -> pd.DataFrame:
        """Trials that finished: the only ones that are ever averaged."""
        return self.trials[self.trials["status"] == "finished"]

    @cached_property
    def diverged(self) -> pd.DataFrame:
        """Trials that ended with a loss or gradient that is not finite."""
        return self.trials[self.trials["status"] == "diverged"]

    @cached_property
    def failed(self) -> pd.DataFrame:
        """Trials that ended with any other error."""
        return self.trials[self.trials["status"] == "failed"]

    def label(self, variant: str) -> str:
        """Name of a variant for tables and legends: the method's label, else the variant itself."""
        methods = self.manifest.get("methods", {})
        described = methods.get(variant)
        if isinstance(described, Mapping) and described.get("label"):
            return str(described["label"])
        if variant.startswith("stl:"):
            return f"single-task {variant[4:]}"
        if variant.startswith("fixed(") and variant.endswith(")"):
            return f"fixed({self.label(variant[6:-1])})"
        return variant
