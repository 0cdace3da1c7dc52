"""Losses and metrics of a model on a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainables.data import iterate
from trainables.model import MTLModel
from trainables.problem import Problem

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["evaluate"]

_BATCH = 500


@torch.no_grad()
def evaluate(
    problem: Problem[Any],
    model: MTLModel,
    split: Mapping[str, Tensor],
    metrics: Mapping[str, MetricCollection],
    batch_size: int = _BATCH,
    *,
    on_progress: Callable[[], None] = lambda: None,
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Evaluates a model in evaluation mode, without touching its state.

    Args:
        problem: Gives losses and metrics.
        model: The model; its mode is restored.
        split: The tensors of the split.
        metrics: The metrics by task; reset before and after.
        batch_size: Items per forward pass.
        on_progress: Called after every batch.

    Returns:
        The mean loss of each task over all its items, and its metrics by name.
    """
    training = model.training
    model.eval()
    sums: dict[str, float] = {}
    items: dict[str, int] = {}
    for collection in metrics.values():
        collection.reset()
    for count, batch in iterate(problem, split, batch_size):
        _, outputs = model(batch)
        for task, loss in problem.losses(outputs, batch).items():
            sums[task] = sums.get(task, 0.0) + loss.item() * count
            items[task] = items.get(task, 0) + count
        problem.update_metrics(metrics, outputs, batch)
        on_progress()
    values = {
        task: {name: float(value) for name, value in collection.compute().items()}
        for task, collection in metrics.items()
    }
    for collection in metrics.values():
        collection.reset()
    model.train(training)
    return {task: total / items[task] for task, total in sums.items()}, values
