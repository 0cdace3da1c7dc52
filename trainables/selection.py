"""How good an epoch is: relative drops against single-task training, and what selects by them.

All functions are pure. ``values`` and ``reference`` map task to metric name to value; drops are in
percent and positive where the task is worse than its single-task reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from mtl_methods.errors import ConfigurationError
from trainables.errors import ReferenceMetricError
from trainables.problem import Task

__all__ = [
    "SELECTIONS",
    "MetricValues",
    "check_reference",
    "delta_m",
    "delta_mtm",
    "metric_drops",
    "selection_value",
    "task_drops",
]

MetricValues: TypeAlias = Mapping[str, Mapping[str, float]]
"""Task to metric name to value."""

SELECTIONS = ("delta_mtm", "delta_m", "loss")
"""What the best epoch can be chosen by."""


def check_reference(tasks: Sequence[Task], reference: MetricValues) -> None:
    """Checks that a reference has a usable value for every metric of every task.

    Raises:
        ReferenceMetricError: If a value is missing, zero or not finite, or a task is unknown.
    """
    names = [task.name for task in tasks]
    for name in reference:
        if name not in names:
            raise ReferenceMetricError(
                f"the single-task reference names the task {name!r}; valid: {', '.join(names)}"
            )
    for task in tasks:
        given = reference.get(task.name, {})
        for metric in task.metrics:
            if metric.name not in given:
                raise ReferenceMetricError(
                    f"the single-task reference lacks the metric {metric.name!r} of task "
                    f"{task.name!r}, so no relative drop exists"
                )
            value = given[metric.name]
            if value == 0 or not math.isfinite(value):
                raise ReferenceMetricError(
                    f"the single-task reference of {task.name}.{metric.name} is {value}, "
                    "so no relative drop exists"
                )


def metric_drops(
    tasks: Sequence[Task], values: MetricValues, reference: MetricValues
) -> dict[str, dict[str, float]]:
    """Relative drop of every metric: ``100 s (v - b) / |b|``, s = -1 where higher is better.

    Args:
        tasks: K tasks with their metrics and directions.
        values: The metrics v of the multi-task model.
        reference: Those b of single-task training.

    Returns:
        Task to metric name to drop in percent; positive is worse.

    Raises:
        ReferenceMetricError: If a reference is missing, zero or not finite.
    """
    check_reference(tasks, reference)
    return {
        task.name: {
            metric.name: (-100.0 if metric.higher_is_better else 100.0)
            * (values[task.name][metric.name] - reference[task.name][metric.name])
            / abs(reference[task.name][metric.name])
            for metric in task.metrics
        }
        for task in tasks
    }


def task_drops(drops: MetricValues) -> dict[str, float]:
    """Mean drop of each task over its metrics, in percent."""
    return {task: _mean(list(metrics.values())) for task, metrics in drops.items()}


def delta_mtm(drops: MetricValues) -> float:
    """Mean over tasks of the mean relative gain over the task's metrics, in percent.

    Higher is better. Source: "Uniform Loss vs. Specialized Optimization", Eq. 1.
    """
    return -_mean(list(task_drops(drops).values()))


def delta_m(drops: MetricValues) -> float:
    """Mean over all metrics of the relative drop, in percent; lower is better.

    Source: FairGrad (Ban and Ji, 2024), section 5.
    """
    return _mean([drop for metrics in drops.values() for drop in metrics.values()])


def selection_value(
    selection: str,
    tasks: Sequence[Task],
    values: MetricValues,
    losses: Mapping[str, float],
    reference: MetricValues | None,
) -> float:
    """The number that the best epoch has most of.

    With a reference ``delta_mtm``, or ``-delta_m``. Without one, for the one task that was
    trained, its headline metric with the sign that makes higher better. For ``"loss"`` minus the
    sum of the validation losses.

    Args:
        selection: One of :data:`SELECTIONS`.
        tasks: The tasks that count.
        values: Their validation metrics.
        losses: Their validation losses.
        reference: Their single-task metrics, or ``None``.

    Raises:
        ConfigurationError: If there is no reference, several tasks count, and the selection
            measure needs one.
    """
    if selection == "loss":
        return -sum(losses[task.name] for task in tasks)
    if reference is not None:
        drops = metric_drops(tasks, values, reference)
        return delta_mtm(drops) if selection == "delta_mtm" else -delta_m(drops)
    if len(tasks) != 1:
        raise ConfigurationError(
            f"selection {selection!r} needs a single-task reference when several tasks "
            f"({', '.join(task.name for task in tasks)}) are trained; give a reference or "
            "the selection 'loss'"
        )
    task = tasks[0]
    headline = task.metrics[0]
    value = values[task.name][headline.name]
    return value if headline.higher_is_better else -value


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
