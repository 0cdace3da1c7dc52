"""GO4Align: tasks in groups, one weight per group."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.core.positive import loss_floor_option, numbers_above_floor
from mtl_methods.errors import TaskError

__all__ = ["GO4Align", "cluster_1d"]

logger = logging.getLogger("mtl_methods")

_LARGEST = 700.0
"""Logarithm of the largest weight."""


def cluster_1d(points: Sequence[float], groups: int) -> list[int]:
    """Splits numbers into groups of least sum of squared distances to the group means, exactly.

    One-dimensional k-means has an optimum whose groups are intervals of the sorted numbers, found
    by dynamic programming over the last interval's start: in O(n) for two groups after sorting, in
    O(groups * n^2) for more.

    Args:
        points: n finite numbers.
        groups: Number of groups, at least 1; more than n count as n.

    Returns:
        The group of each number, from 0 for the smallest numbers. With ties the leftmost split is
        taken.
    """
    count = len(points)
    order = sorted(range(count), key=points.__getitem__)
    labels = [0] * count
    if groups >= count:
        for group, place in enumerate(order):
            labels[place] = group
        return labels
    lowest = points[order[0]]
    spread = points[order[-1]] - lowest
    if groups == 1 or spread == 0.0:
        return labels
    scaled = [(points[place] - lowest) / spread for place in order]
    centre = math.fsum(scaled) / count
    sums = list(itertools.accumulate(x - centre for x in scaled))
    if groups == 2:
        # of numbers of sum 0 the first i and the rest have means s / i and -s / (n - i)
        gains = [s * s / (i * (count - i)) for i, s in enumerate(sums[:-1], start=1)]
        for place in order[gains.index(max(gains)) + 1 :]:
            labels[place] = 1
        return labels
    squares = list(itertools.accumulate((x - centre) * (x - centre) for x in scaled))
    best, starts = _first_intervals(sums, squares, groups - 1)
    # the last group ends with the last number: only its start is to be found
    costs = [
        before + _cost(squares[-1] - square, sums[-1] - total, count - i)
        for i, (before, square, total) in enumerate(zip(best, squares, sums, strict=True), start=1)
        if i < count
    ]
    end = costs.index(min(costs)) + 1
    for place in order[end:]:
        labels[place] = groups - 1
    for group in range(groups - 2, 0, -1):
        start = int(starts[group - 1][end])
        for place in order[start:end]:
            labels[place] = group
        end = start
    return labels


def _cost(square: float, total: float, size: int) -> float:
    """Squared distances of numbers to their mean, from the sum of their squares and their sum."""
    return max(square - total * total / size, 0.0)


def _first_intervals(
    sums: Sequence[float], squares: Sequence[float], groups: int
) -> tuple[list[float], list[NDArray[np.int64]]]:
    """Least costs of the first 1, 2, ... n numbers in a number of groups, and where groups start.

    Args:
        sums: Sums of the first 1, 2, ... n numbers.
        squares: Sums of their squares.
        groups: Number of groups, at least 2.

    Returns:
        The n costs, and for each group but the first where it starts if it ends before the number
        0, 1, ... n, each of shape (n + 1,).
    """
    count = len(sums)
    moments = np.zeros((2, count + 1))
    moments[:, 1:] = sums, squares
    size, empty = _interval_sizes(count)
    # cost[a, b]: of the interval a..b-1; impossible where it is empty
    between, squared = moments[:, None, :] - moments[:, :, None]
    cost = np.maximum(squared - between * between / size, 0.0) + empty
    best, starts = cost[0], []
    for _ in range(groups - 1):
        total = best[:, None] + cost
        starts.append(total.argmin(axis=0))
        best = total.min(axis=0)
    ends: list[float] = best[1:].tolist()
    return ends, starts


@cache
def _interval_sizes(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lengths of the intervals a..b-1 (at least 1), and infinity where there is none."""
    ends = np.arange(count + 1)
    size = np.maximum(ends[None, :] - ends[:, None], 1).astype(np.float64)
    empty = np.where(np.tri(count + 1, dtype=np.bool_), np.inf, 0.0)
    return size, empty


class GO4Align(LossWeighting):
    """Groups tasks by a smoothed, scale-free risk and gives each group one weight.

    Every step moves the indicators ``p_k <- p_k exp(-step_size l_k) / Z`` (which remember past
    risks), forms ``v_k = p_k sum_j l_j / l_k`` and splits the K numbers ``v_k`` into groups by
    k-means; the weight of a task is the mean of its group. One-dimensional k-means is solved
    exactly, by dynamic programming: deterministic, any number of groups.

    A task that is missing from a batch keeps its indicator; the others share what they had.

    Source: Shen et al., "GO4Align: Group Optimization for Multi-Task Alignment" (NeurIPS 2024);
    rule and constants as in its code.
    """

    name: ClassVar[str] = "go4align"
    summary: ClassVar[str] = "GO4Align: groups tasks by smoothed risk, one weight per group."
    paper: ClassVar[str] = "Shen et al., NeurIPS 2024"
    equation: ClassVar[str] = (
        "w_k = mean of v over k's group, v_k = p_k sum_j l_j / l_k, p_k <- p_k exp(-b l_k) / Z"
    )
    scale_law: ClassVar[str] = "other; invariant for step_size 0"
    deviations: ClassVar[tuple[str, ...]] = (
        "The official class stops with a NameError for two groups or more (its import of k-means "
        "is commented out), and its default of one group gives all tasks the same weight: linear "
        "scalarisation of moving length. Here any number of groups works.",
        "The official k-means starts at random centres in every step and may miss the optimum; "
        "here it is exact.",
        "The official code also has three variants with spectral clustering; not offered.",
    )

    num_groups: int = hyperparameter(
        2,
        low=1,
        search=(1, 5),
        source="official code: 1, which does not group; 2 is the smallest number that does",
        description="Number of groups; as many as tasks, or more, for no grouping.",
    )
    step_size: float = hyperparameter(
        1e-4,
        low=0.0,
        search=(1e-5, 1e-1),
        log=True,
        source="official code: 1e-4 (robust_step_size)",
        description="Speed b at which the indicators forget equal shares.",
    )
    loss_floor: float = loss_floor_option()

    @property
    def scale_exponent(self) -> float | None:
        """0 if the indicators stand still, none otherwise."""
        return 0.0 if self.step_size == 0.0 and self.loss_floor == 0.0 else None

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        count = len(self.tasks)
        if self.num_groups > count > 1:
            logger.warning(
                "%s: num_groups = %d is more than the %d tasks: each is a group of its own",
                self.name,
                self.num_groups,
                count,
            )
        self.state["log_indicators"] = [-math.log(count)] * count

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """The mean of ``v`` over each task's group, K numbers."""
        losses = numbers_above_floor(self.name, inputs.tasks, inputs.numbers, self.loss_floor)
        logs: list[float] = self.state["log_indicators"]
        rows = inputs.index.tolist()
        before = [logs[k] for k in rows]
        moved = [log - self.step_size * loss for log, loss in zip(before, losses, strict=True)]
        shift = _log_sum(before) - _log_sum(moved)
        moved = [log + shift for log in moved]
        total = _log_sum([math.log(loss) for loss in losses])
        scores = [log + total - math.log(loss) for log, loss in zip(moved, losses, strict=True)]
        if max(scores) > _LARGEST:
            task = inputs.tasks[scores.index(max(scores))]
            raise TaskError(
                f"{self.name}: the weight of task {task!r} exceeds the range of numbers, since its "
                "loss is so much smaller than the others; rescale the losses"
            )
        for k, log in zip(rows, moved, strict=True):
            logs[k] = log
        risks = [math.exp(score) for score in scores]
        if self.num_groups >= len(risks):
            return risks
        groups = cluster_1d(risks, self.num_groups)
        sums, sizes = [0.0] * self.num_groups, [0] * self.num_groups
        for group, risk in zip(groups, risks, strict=True):
            sums[group] += risk
            sizes[group] += 1
        return [sums[g] / sizes[g] for g in groups]


def _log_sum(logs: Sequence[float]) -> float:
    """``log sum exp``, safe from overflow."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs))
