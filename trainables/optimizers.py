"""One optimiser for the model and, as a group of their own, the method's parameters; gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.autograd.graph import increment_version

from trainables.spec import TrainingSettings

__all__ = [
    "align_gradients",
    "clear_gradients",
    "clip_gradients",
    "make_optimizer",
    "total_norm",
]


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
    optimizer: optim.Optimizer
    if settings.optimizer == "sgd":
        optimizer = optim.SGD(groups, momentum=settings.momentum, **common)
    elif settings.optimizer == "adamw":
        optimizer = optim.AdamW(groups, **common)
    else:
        optimizer = optim.Adam(groups, **common)
    optimizer.register_step_post_hook(_count_versions)
    return optimizer


def _count_versions(optimizer: optim.Optimizer, args: object, kwargs: object) -> None:
    """Tells autograd that parameters changed, which the fused kernels (torch 2.13, CPU) do not.

    What is kept between steps for a version of a parameter would otherwise be kept for ever.
    """
    for group in optimizer.param_groups:
        increment_version(group["params"])


def align_gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Gives every gradient the memory layout of its parameter; call it before a fused step.

    The fused optimisers of torch (2.13, CPU) pair elements by their place in memory without a look
    at strides. The gradient of a convolution under channels last has other strides than its
    weight when it was not accumulated by autograd itself, and would be applied to the wrong
    elements without a word.

    Args:
        parameters: The parameters.

    Returns:
        The gradients that there are.
    """
    gradients = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
            parameter.grad = gradient
        gradients.append(gradient)
    return gradients


def clear_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Sets all gradients to ``None``; ``Optimizer.zero_grad`` without the cost of its hooks."""
    for parameter in parameters:
        parameter.grad = None


def total_norm(gradients: list[Tensor]) -> float:
    """Euclidean norm of all gradients together, 0 for none.

    As :func:`torch.nn.utils.get_total_norm` in half the time: it is taken in every step, so that a
    gradient that is not finite is found in the step that made it.
    """
    if not gradients:
        return 0.0
    return float(torch.stack(torch._foreach_norm(gradients)).norm())


def clip_gradients(gradients: list[Tensor], norm: float, limit: float) -> bool:
    """Scales all gradients by ``limit / norm`` if ``norm`` is above ``limit``.

    Args:
        gradients: The gradients, changed in place.
        norm: Their :func:`total_norm`.
        limit: The largest norm allowed.

    Returns:
        Whether they were scaled.
    """
    if norm <= limit:
        return False
    torch._foreach_mul_(gradients, limit / norm)
    return True
