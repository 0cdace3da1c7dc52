"""Losses above their floor, for methods that take logarithms or divide by losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.method import StepInputs
from mtl_methods.errors import TaskError

__all__ = ["above_floor", "loss_floor_option", "losses_above_floor", "numbers_above_floor"]


def loss_floor_option() -> Any:
    """The hyper-parameter ``loss_floor``, the same for all methods that need positive losses."""
    return hyperparameter(
        0.0,
        source="0 for losses that are positive; code bases that add 1e-8 have -1e-8",
        description="A lower bound of every loss, subtracted first; a loss at it is an error.",
    )


def above_floor(owner: str, tasks: tuple[str, ...], values: Tensor, floor: float) -> Tensor:
    """Losses less their floor.

    Args:
        owner: Who asks, for the message.
        tasks: K task names.
        values: Their losses, shape (K,).
        floor: A number that every loss must exceed.

    Returns:
        ``values - floor``, shape (K,), positive.

    Raises:
        TaskError: If a loss is not above the floor; names the first such task.
    """
    rest = values - floor
    if bool((rest <= 0.0).any()):
        numbers_above_floor(owner, tasks, values.tolist(), floor)
    return rest


def numbers_above_floor(
    owner: str, tasks: Sequence[str], values: Sequence[float], floor: float
) -> list[float]:
    """:func:`above_floor` for plain numbers, which are faster where tasks are few."""
    rest = [value - floor for value in values]
    if min(rest) <= 0.0:
        row = next(k for k, distance in enumerate(rest) if distance <= 0.0)
        raise TaskError(
            f"{owner}: the loss of task {tasks[row]!r} is {values[row]:g}, but it must be above "
            f"loss_floor = {floor:g}; set loss_floor to a lower bound of the losses"
        )
    return rest


def losses_above_floor(owner: str, inputs: StepInputs, floor: float) -> Tensor:
    """:func:`above_floor` for the losses of a step, shape (K,), float64."""
    rest = numbers_above_floor(owner, inputs.tasks, inputs.numbers, floor)
    return torch.tensor(rest, dtype=torch.float64, device="cpu")
