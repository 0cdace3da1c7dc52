"""Weights on the simplex that are moved a little in every step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.gradient_weighting.common import project_to_simplex

__all__ = ["equal_weights", "move_on_simplex"]

Array = NDArray[np.float64]


def equal_weights(count: int) -> Tensor:
    """The start: 1 / K each, shape (K,), float64."""
    return torch.full((count,), 1.0 / count, dtype=torch.float64, device="cpu")


def move_on_simplex(
    weights: Tensor,
    rows: NDArray[np.int64],
    change: Callable[[Array], Array],
    *,
    steps: int = 1,
    momentum: float = 0.0,
    softmax: bool = False,
) -> Array:
    """Moves the weights of the tasks of a batch on the simplex of their present sum.

    So a missing task keeps its weight.

    Args:
        weights: Weights of all tasks, of sum 1, float64 on the CPU; changed in place.
        rows: Positions of the K tasks of the batch.
        change: What to subtract from their weights (scaled to sum 1), given these; (K,) to (K,).
        steps: How often.
        momentum: Part of the last change that is added to the next one.
        softmax: Whether a softmax takes the place of the projection.

    Returns:
        Their new weights, of sum 1, shape (K,).
    """
    stored = weights.numpy()
    total = float(stored[rows].sum())
    point = stored[rows] / total if total > 0.0 else np.full(len(rows), 1.0 / len(rows))
    velocity = np.zeros(len(rows))
    for _ in range(steps):
        velocity = momentum * velocity + change(point)
        point = point - velocity
        if softmax:
            powers = np.exp(point - point.max())
            point = powers / powers.sum()
        else:
            point = project_to_simplex(point)
    stored[rows] = point * total
    return point
