"""Which task a gradient that is not finite comes from, where that can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_methods import StepRecord

__all__ = ["DOMINANCE", "suspect"]

DOMINANCE = 10.0
"""A task is named for its size only if its part is this many times that of any other task."""


def suspect(
    heads: Mapping[str, Sequence[Tensor]], losses: Mapping[str, float], record: StepRecord
) -> tuple[str | None, str]:
    """The task that a gradient which is not finite comes from.

    In this order: the only task whose head has a gradient that is not finite; the only task whose
    part of the update is not finite; the task whose part is `DOMINANCE` times that of any other.
    The part of task k is ``|w_k| |g_k|`` where the method knows the norms of the task gradients,
    else ``|w_k L_k|``, with w_k = 1 where it has no weights. Losses live on different scales, so a
    task that is merely the largest is not named.

    Args:
        heads: The parameters of each task's head, with their gradients.
        losses: The losses of the step.
        record: What the method says of the step.

    Returns:
        The task and why, as a clause; ``None`` and an empty string where it cannot be told.
    """
    broken = [task for task, parameters in heads.items() if _spoiled(parameters)]
    if len(broken) == 1:
        return broken[0], f"of the heads only that of task {broken[0]!r} has such a gradient"
    parts, what = _parts(losses, record)
    infinite = [task for task, part in parts.items() if not math.isfinite(part)]
    if len(infinite) == 1:
        return infinite[0], f"only the {what} of task {infinite[0]!r} is not finite"
    if infinite or not parts:
        return None, ""
    task = max(parts, key=parts.__getitem__)
    others = max((part for name, part in parts.items() if name != task), default=0.0)
    if parts[task] > DOMINANCE * others:
        return task, f"task {task!r} has by far the largest {what}, {parts[task]:.3g}"
    return None, ""


def _spoiled(parameters: Sequence[Tensor]) -> bool:
    gradients = [p.grad for p in parameters if p.grad is not None]
    return any(not bool(torch.isfinite(gradient).all()) for gradient in gradients)


def _parts(losses: Mapping[str, float], record: StepRecord) -> tuple[dict[str, float], str]:
    """Size of each task's part of the update, and what it is."""
    weights = dict.fromkeys(losses, 1.0)
    if record.weights is not None:
        weights = dict(zip(record.tasks, record.weights.tolist(), strict=True))
    if record.gram is not None:
        sizes = dict(zip(record.tasks, record.gram.diagonal().tolist(), strict=True))
        norms = {
            task: math.sqrt(square) if square >= 0.0 else math.nan for task, square in sizes.items()
        }
        return _product(weights, norms), "weighted gradient norm"
    return _product(weights, losses), "weighted loss"


def _product(weights: Mapping[str, float], sizes: Mapping[str, float]) -> dict[str, float]:
    return {task: abs(weights[task] * sizes[task]) for task in sizes if task in weights}
