"""From the arguments of ``backward`` to one checked, canonical step."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtl_methods.configuration import closest
from mtl_methods.core.step import StepInputs
from mtl_methods.errors import NonFiniteLossError, TaskError, UnknownNameError

if TYPE_CHECKING:
    from mtl_methods.core.method import Method

__all__ = ["checked_inputs"]

_FURTHER = ("closure", "named_parameters", "lr", "extra_losses")


def checked_inputs(
    method: Method,
    losses: Mapping[str, Tensor],
    shared: Iterable[Tensor],
    heads: Iterable[Tensor] | None,
    features: Tensor | Sequence[Tensor] | None,
    grad_scale: float,
    extra: Mapping[str, Any],
) -> StepInputs:
    """Checks the arguments of ``Method.backward`` and sets the method up if it was not yet.

    Raises:
        NonFiniteLossError: If a loss is NaN or infinite.
        TaskError: If losses are not scalars, have no graph, or name an unknown task.
        UnknownNameError: If there is an argument that no need asks for.
    """
    for key in extra:
        if key not in _FURTHER:
            raise UnknownNameError(
                f"{method.name}: backward has no argument {key!r}"
                f"{closest(key, (*_FURTHER, 'features', 'heads', 'grad_scale'))}; further "
                f"arguments for declared needs are {', '.join(_FURTHER)}"
            )
    tasks = tuple(losses)
    terms = tuple(losses.values())
    if not tasks:
        raise TaskError(f"{method.name}: the batch has no losses; skip such a batch")
    for task, loss in zip(tasks, terms, strict=True):
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise TaskError(
                f"{method.name}: the loss of task {task!r} must be a scalar tensor, got {shape}"
            )
    if not any(loss.requires_grad for loss in terms):
        raise TaskError(f"{method.name}: no loss has a graph to differentiate")
    values = _values(terms)
    for task, value in zip(tasks, values.tolist(), strict=True):
        if not math.isfinite(value):
            raise NonFiniteLossError(task, value)
    if isinstance(features, Tensor):
        features = (features,)
    if not method.tasks:
        method.setup(
            tasks,
            device=terms[0].device,
            dtype=_parameter_dtype(terms[0].dtype),
            feature_dim=features[0].shape[1] if features and features[0].dim() > 1 else None,
        )
    if tasks == method.tasks:
        index = _first_numbers(len(tasks))
    else:
        unknown = [task for task in tasks if task not in method.tasks]
        if unknown:
            raise TaskError(
                f"{method.name}: task {unknown[0]!r} is none of its tasks "
                f"({', '.join(method.tasks)}); name all tasks with setup(tasks) before the "
                "first step"
            )
        tasks = tuple(task for task in method.tasks if task in losses)
        order = list(losses)
        values = values[[order.index(task) for task in tasks]]
        terms = tuple(losses[task] for task in tasks)
        index = torch.tensor([method.tasks.index(task) for task in tasks])
    return StepInputs(
        tasks=tasks,
        losses=terms,
        values=values,
        index=index,
        shared=tuple(p for p in shared if p.requires_grad),
        heads=None if heads is None else tuple(p for p in heads if p.requires_grad),
        features=None if features is None else tuple(features),
        grad_scale=float(grad_scale),
        extra=extra,
    )


@functools.cache
def _first_numbers(count: int) -> Tensor:
    """0, 1, ... count - 1."""
    return torch.arange(count)


def _values(losses: tuple[Tensor, ...]) -> Tensor:
    """The values of scalar losses, float64 on the CPU, shape (K,)."""
    first = losses[0]
    alike = all(
        loss.dim() == 0 and loss.dtype == first.dtype and loss.device == first.device
        for loss in losses
    )
    with torch.no_grad():
        if alike:
            return torch.stack(losses).to("cpu", torch.float64)
        return torch.stack([loss.reshape(()).to("cpu", torch.float64) for loss in losses])


def _parameter_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type of own parameters for losses of a type: never half precision."""
    return torch.float64 if dtype == torch.float64 else torch.float32
