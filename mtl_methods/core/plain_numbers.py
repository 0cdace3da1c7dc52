"""Numbers of a few tasks in plain Python, which is faster than tensors of a few elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from mtl_methods.core.method import StepInputs
from mtl_methods.core.writing import accumulate, device_of

__all__ = ["add_own_gradient", "exponential", "read_own", "softmax"]


def read_own(own: nn.Parameter, inputs: StepInputs) -> list[float]:
    """The numbers of the present tasks.

    Args:
        own: One number for each of the method's tasks, shape (n,).
        inputs: The step, of K of them.

    Returns:
        K numbers.
    """
    numbers: list[float] = own.tolist()
    return numbers if len(inputs.tasks) == len(numbers) else [numbers[k] for k in _rows(inputs)]


def add_own_gradient(own: nn.Parameter, inputs: StepInputs, gradient: Sequence[float]) -> None:
    """Adds the gradient of the present tasks' numbers, times the loss scale, to ``own.grad``.

    Args:
        own: One number for each of the method's tasks, shape (n,).
        inputs: The step, of K of them.
        gradient: K numbers.
    """
    count = len(own)
    if len(gradient) < count:
        everything = [0.0] * count
        for k, slope in zip(_rows(inputs), gradient, strict=True):
            everything[k] = slope
        gradient = everything
    told = torch.tensor(gradient, dtype=own.dtype, device=device_of(own))
    accumulate([own], [told], inputs.grad_scale, owned=True)


def exponential(number: float) -> float:
    """``exp``, infinite beyond the range of numbers."""
    try:
        return math.exp(number)
    except OverflowError:
        return math.inf


def softmax(scores: Sequence[float]) -> list[float]:
    """Positive numbers of sum 1 in the ratios of ``exp(scores)``."""
    largest = max(scores)
    powers = [math.exp(score - largest) for score in scores]
    total = math.fsum(powers)
    return [power / total for power in powers]


def _rows(inputs: StepInputs) -> list[int]:
    rows: list[int] = inputs.index.tolist()
    return rows
