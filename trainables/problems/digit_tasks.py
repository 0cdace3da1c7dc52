"""What the problems of overlaid image pairs have in common: tasks CL, CR, RL, RR."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from mtl_methods.errors import ConfigurationError
from trainables.problem import Metric, Task

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["CLASSES", "digit_losses", "digit_metrics", "parse_tasks"]

CLASSES = 10
_ACCURACY = Metric("accuracy", higher_is_better=True)
_MSE = Metric("mse", higher_is_better=False, unit="squared intensity")
_TASKS = {
    "CL": Task("CL", "cross_entropy", (_ACCURACY,), "classify the left digit"),
    "CR": Task("CR", "cross_entropy", (_ACCURACY,), "classify the right digit"),
    "RL": Task("RL", "mse", (_MSE,), "reconstruct the left digit"),
    "RR": Task("RR", "mse", (_MSE,), "reconstruct the right digit"),
}


def parse_tasks(text: str, owner: str) -> tuple[Task, ...]:
    """The tasks of a text like ``"CL_RR"``, in the order CL, CR, RL, RR.

    Args:
        text: Names of different tasks, joined by ``_``.
        owner: Whose option it is, for the message.

    Raises:
        ConfigurationError: If a name is no task or comes twice.
    """
    names = text.split("_")
    if not set(names) <= set(_TASKS) or len(set(names)) != len(names):
        raise ConfigurationError(
            f"{owner}: tasks = {text!r} is not valid; it must name different tasks of "
            + ", ".join(_TASKS)
            + ", joined by '_' as in 'CL_RR'"
        )
    return tuple(task for name, task in _TASKS.items() if name in names)


def digit_losses(outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cross entropy of the C tasks, mean squared error of the R tasks."""
    return {
        task: functional.cross_entropy(output, batch[task])
        if task.startswith("C")
        else functional.mse_loss(output, batch[task])
        for task, output in outputs.items()
    }


def digit_metrics(tasks: Iterable[Task]) -> dict[str, MetricCollection]:
    """Accuracy of the C tasks, mean squared error of the R tasks."""
    from torchmetrics import MeanSquaredError, MetricCollection
    from torchmetrics.classification import MulticlassAccuracy

    return {
        task.name: MetricCollection(
            {"accuracy": MulticlassAccuracy(CLASSES, average="micro", validate_args=False)}
            if task.name.startswith("C")
            else {"mse": MeanSquaredError()}
        )
        for task in tasks
    }
