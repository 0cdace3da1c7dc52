"""What a search optimises: one number or several for each trial, on validation, at its best epoch.

By default the one number is what the trial's best epoch was chosen by (``selection`` of the study),
so that choosing an epoch and choosing a configuration agree. A study may name others under
``objectives``: the measures below, or ``<task>.<metric>``. Single-task models have no measure that
compares with single-task models, and are always searched by their headline metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl_methods.configuration import closest
from sweeps.errors import StudyError
from sweeps.folder.ledger import Record
from sweeps.planning.trials import Trial
from sweeps.search.selection import objective
from trainables.problem import Task

__all__ = ["MEASURES", "Objective", "Selection", "make_objectives", "uses_reference"]

MEASURES: dict[str, bool] = {
    "delta_mtm": True,
    "delta_m": False,
    "delta_m_variance": False,
    "worst_drop": False,
    "jain_index": True,
    "gini": False,
}
"""Measures that compare with single-task models, and whether higher is better."""


@dataclass(frozen=True)
class Objective:
    """A number that a search optimises.

    Attributes:
        name: ``delta_m``, ``CL.accuracy``, ...
        higher_is_better: Its direction.
        tasks: The tasks of the problem.
    """

    name: str
    higher_is_better: bool
    tasks: tuple[Task, ...]

    def value(self, trial: Trial, record: Record) -> float:
        """The number as it is defined, on validation; NaN if the trial recorded too little."""
        if self.name not in MEASURES:
            return record.measure(self.name)
        values, reference = record.summary.get("validation") or {}, trial.spec["reference"]
        return _measure(self.name, self.tasks, values, reference)

    def signed(self, trial: Trial, record: Record) -> float:
        """The number with the sign that makes higher better."""
        value = self.value(trial, record)
        return value if self.higher_is_better else -value


@dataclass(frozen=True)
class Selection:
    """The number that trials choose their best epoch by: higher is better, as recorded."""

    name: str

    def signed(self, trial: Trial, record: Record) -> float:
        """The number."""
        return objective(record)


def _measure(
    name: str,
    tasks: Sequence[Task],
    values: Mapping[str, Any],
    reference: Mapping[str, Mapping[str, float]] | None,
) -> float:
    """A measure by the definitions that tables and report use (:mod:`analysis.measures`)."""
    from analysis.measures import relative_drops
    from analysis.scores import measures_of_drops

    metrics = [(task.name, metric) for task in tasks for metric in task.metrics]
    names = [f"{task}.{metric.name}" for task, metric in metrics]
    if reference is None or any(not isinstance(values.get(name), int | float) for name in names):
        return math.nan
    found = [float(values[name]) for name in names]
    baseline = [reference[task][metric.name] for task, metric in metrics]
    drops = relative_drops(found, baseline, [metric.higher_is_better for _, metric in metrics])
    return float(measures_of_drops(drops, [task for task, _ in metrics])[name])


def uses_reference(names: Sequence[str]) -> list[str]:
    """Those of some objectives that compare with single-task models."""
    return [name for name in names if name in MEASURES]


def make_objectives(
    names: Sequence[str] | None, selection: str, tasks: tuple[Task, ...]
) -> tuple[Objective | Selection, ...]:
    """The objectives of a study.

    Args:
        names: What the study names; ``None`` for its selection measure.
        selection: That measure.
        tasks: The tasks of the problem.

    Raises:
        StudyError: If a name is no measure and no metric, or is there twice.
    """
    if names is None:
        return (Selection(selection),)
    directions = MEASURES | {
        f"{task.name}.{metric.name}": metric.higher_is_better
        for task in tasks
        for metric in task.metrics
    }
    for index, name in enumerate(names):
        if name not in directions:
            raise StudyError(
                f"objectives.{index}: there is no measure {name!r}{closest(name, directions)}; "
                f"valid: {', '.join(directions)}"
            )
        if name in names[:index]:
            raise StudyError(f"objectives.{index}: {name!r} is there twice")
    return tuple(Objective(name, directions[name], tasks) for name in names)
