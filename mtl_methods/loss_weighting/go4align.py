"""GO4Align: tasks in groups, one weight per group."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.core.positive import loss_floor_option, losses_above_floor

__all__ = ["GO4Align", "cluster_1d"]


def cluster_1d(points: NDArray[np.float64], groups: int) -> NDArray[np.int64]:
    """Splits numbers into groups of least sum of squared distances to the group means, exactly.

    One-dimensional k-means has an optimum whose groups are intervals of the sorted numbers, found
    by dynamic programming over the last interval's start, in O(groups * n^2).

    Args:
        points: Shape (n,), finite.
        groups: Number of groups, at least 1; more than n count as n.

    Returns:
        The group of each number, shape (n,), from 0 for the smallest numbers. With ties the
        leftmost split is taken.
    """
    count = len(points)
    order = np.argsort(points, kind="stable")
    labels = np.zeros(count, dtype=np.int64)
    if groups >= count:
        labels[order] = np.arange(count)
        return labels
    ordered = points[order]
    spread = ordered[-1] - ordered[0]
    if groups == 1 or spread == 0.0:
        return labels
    scaled = (ordered - ordered.mean()) / spread
    moments = np.zeros((2, count + 1))
    moments[:, 1:] = np.cumsum((scaled, scaled * scaled), axis=1)
    size, empty = _interval_sizes(count)
    # cost[a, b]: of the interval a..b-1; impossible where it is empty
    sums, squares = moments[:, None, :] - moments[:, :, None]
    cost = np.maximum(squares - sums * sums / size, 0.0) + empty
    best = cost[0]
    starts = []
    for _ in range(groups - 1):
        total = best[:, None] + cost
        starts.append(total.argmin(axis=0))
        best = total.min(axis=0)
    end = count
    for group in range(groups - 1, 0, -1):
        start = int(starts[group - 1][end])
        labels[order[start:end]] = group
        end = start
    return labels


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
        description="Number of groups; as many as tasks for no grouping.",
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
        equal = torch.full((count,), 1.0 / count, dtype=torch.float64)
        self.state["log_indicators"] = equal.log()

    def coefficients(self, inputs: StepInputs) -> Tensor:
        """The mean of ``v`` over each task's group, shape (K,)."""
        losses = losses_above_floor(self.name, inputs, self.loss_floor).numpy()
        logs = self.state["log_indicators"].numpy()  # a view: changed in place
        rows = slice(None) if inputs.tasks == self.tasks else inputs.index.numpy()
        before = logs[rows].copy()
        moved = before - self.step_size * losses
        moved += _log_sum(before) - _log_sum(moved)
        logs[rows] = moved
        risks = np.exp(moved + np.log(losses.sum()) - np.log(losses))
        groups = cluster_1d(risks, self.num_groups)
        means = np.bincount(groups, weights=risks) / np.bincount(groups)
        return torch.from_numpy(means[groups])


def _log_sum(logs: NDArray[np.float64]) -> float:
    """``log sum exp``, safe from overflow."""
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))
