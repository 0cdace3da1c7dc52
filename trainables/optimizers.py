"""One optimiser for the model and, as a group of their own, the method's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn, optim

from trainables.spec import TrainingSettings

__all__ = ["align_gradients", "make_optimizer"]


def make_optimizer(
    settings: TrainingSettings,
    model: Sequence[nn.Parameter],
    method: Sequence[nn.Parameter] = (),
) -> optim.Optimizer:
    """Makes the optimiser of a trial.

    Args:
        settings: Optimiser, learning rates, weight decay and momentum.
        model: The parameters of the model: learning rate ``lr``, with weight decay.
        method: The method's own parameters: learning rate ``method_lr``, no weight decay.
    """
    groups: list[dict[str, Any]] = [{"params": list(model)}]
    if method:
        groups.append({"params": list(method), "lr": settings.method_lr, "weight_decay": 0.0})
    common: dict[str, Any] = {
        "lr": settings.lr,
        "weight_decay": settings.weight_decay,
        # One kernel for all parameters: a third of the time of the default on the CPU.
        "fused": True,
    }
    if settings.optimizer == "sgd":
        return optim.SGD(groups, momentum=settings.momentum, **common)
    if settings.optimizer == "adamw":
        return optim.AdamW(groups, **common)
    return optim.Adam(groups, **common)


def align_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Gives every gradient the memory layout of its parameter; call it before a fused step.

    The fused optimisers of torch (2.13, CPU) pair elements by their place in memory without a look
    at strides. The gradient of a convolution under channels last has other strides than its
    weight when it was not accumulated by autograd itself, and would be applied to the wrong
    elements without a word.
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.stride() != parameter.stride():
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
