"""What the steps of one epoch say in sum: losses, weights, gradient geometry, events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mtl_methods import StepRecord

__all__ = ["EpochStatistics", "mean_cosine"]


class EpochStatistics:
    """Accumulates the steps of an epoch.

    Args:
        tasks: All task names.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)
        self.solve_seconds = 0.0
        self._steps = 0
        self._clipped = 0
        self._grad_norm = 0.0
        self._residual: float | None = None
        self._loss: dict[str, float] = defaultdict(float)
        self._items: Counter[str] = Counter()
        self._weight: dict[str, float] = defaultdict(float)
        self._weighted: Counter[str] = Counter()
        self._norm: dict[str, float] = defaultdict(float)
        self._normed: Counter[str] = Counter()
        self._cosine: list[float] = []
        self._trained: set[str] = set()

    def add_step(
        self,
        losses: Mapping[str, float],
        items: int,
        record: StepRecord,
        *,
        grad_norm: float,
        clipped: bool,
    ) -> None:
        """Adds a step.

        Args:
            losses: The losses before the step.
            items: The number of items in the batch.
            record: What the method says of the step.
            grad_norm: Norm of the model's gradient before clipping.
            clipped: Whether it was clipped.
        """
        self._steps += 1
        self._clipped += clipped
        self._grad_norm += grad_norm
        self.solve_seconds += record.solve_seconds
        for task, loss in losses.items():
            self._loss[task] += loss * items
            self._items[task] += items
        if record.weights is None:
            self._trained.update(losses)
        else:
            for task, weight in zip(record.tasks, record.weights.tolist(), strict=True):
                self._weight[task] += weight
                self._weighted[task] += 1
                if weight != 0.0:
                    self._trained.add(task)
        if record.residual is not None:
            self._residual = max(float(record.residual), self._residual or 0.0)
        if record.gram is not None:
            norms = np.sqrt(np.diagonal(record.gram))
            for task, norm in zip(record.tasks, norms.tolist(), strict=True):
                self._norm[task] += norm
                self._normed[task] += 1
            cosine = mean_cosine(record.gram)
            if cosine is not None:
                self._cosine.append(cosine)

    @property
    def trained(self) -> tuple[str, ...]:
        """The tasks that some step gave a weight other than 0."""
        return tuple(task for task in self.tasks if task in self._trained)

    def mean_losses(self) -> dict[str, float]:
        """Mean training loss over the items of each task."""
        return {
            task: self._loss[task] / self._items[task] for task in self.tasks if self._items[task]
        }

    def row(self, *, clipping: bool) -> dict[str, float]:
        """The epoch's part of a row, keys as in :mod:`trainables.training`.

        Args:
            clipping: Whether clipping was on.
        """
        row = {f"train_loss.{task}": loss for task, loss in self.mean_losses().items()}
        for task in self.tasks:
            if self._weighted[task]:
                row[f"weight.{task}"] = self._weight[task] / self._weighted[task]
        for task in self.tasks:
            if self._normed[task]:
                row[f"grad_norm.{task}"] = self._norm[task] / self._normed[task]
        if self._cosine:
            row["grad_cosine"] = sum(self._cosine) / len(self._cosine)
        row["grad_norm"] = self._grad_norm / self._steps
        row["solve_seconds"] = self.solve_seconds
        if self._residual is not None:
            row["solver_residual"] = self._residual
        if clipping:
            row["grad_norm_clipped"] = self._clipped / self._steps
        return row


def mean_cosine(gram: npt.NDArray[np.float64]) -> float | None:
    """Mean over tasks of the cosine between a task's gradient and the mean gradient.

    ``1/K sum_k <g_k, m> / (|g_k| |m|)`` with ``m = 1/K sum_k g_k``, from the Gram matrix alone.

    Args:
        gram: ``G[i, j] = <g_i, g_j>``, shape (K, K).

    Returns:
        A number in [-1, 1]; ``None`` where a gradient or the mean vanishes.

    Source: "Uniform Loss vs. Specialized Optimization", section 3.3 and Figure 3.
    """
    with_mean = gram.mean(axis=1)
    squares = np.diagonal(gram)
    mean_square = with_mean.mean()
    if not mean_square > 0.0 or not squares.min() > 0.0:
        return None
    cosine = float((with_mean / np.sqrt(squares)).mean() / np.sqrt(mean_square))
    return min(1.0, max(-1.0, cosine))
