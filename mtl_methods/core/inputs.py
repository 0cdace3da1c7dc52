"""From the arguments of ``backward`` to one checked, canonical step."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtl_methods.configuration import closest
from mtl_methods.core.step import Need, StepInputs
from mtl_methods.core.writing import joined_losses
from mtl_methods.errors import (
    ConfigurationError,
    MissingNeedError,
    NonFiniteLossError,
    TaskError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from mtl_methods.core.method import Method

__all__ = ["checked_inputs", "loss_numbers"]

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
        TaskError: If losses are no mapping to real scalars, have no graph, or name an unknown
            task; if ``shared``, ``heads`` or ``features`` are not what they should be.
        ConfigurationError: If ``grad_scale`` is no positive number.
        MissingNeedError: If an argument that a declared need asks for is missing or something else.
        UnknownNameError: If there is an argument that no need asks for.
    """
    for key in extra:
        if key not in _FURTHER:
            raise UnknownNameError(
                f"{method.name}: backward has no argument {key!r}"
                f"{closest(key, (*_FURTHER, 'features', 'heads', 'grad_scale'))}; further "
                f"arguments for declared needs are {', '.join(_FURTHER)}"
            )
    if not isinstance(losses, Mapping):
        raise TaskError(
            f"{method.name}: losses must be a mapping from task names to scalar tensors, got "
            f"{type(losses).__name__}"
        )
    scale = _checked_scale(method, grad_scale)
    tasks = tuple(losses)
    terms = tuple(losses.values())
    if not tasks:
        raise TaskError(f"{method.name}: the batch has no losses; skip such a batch")
    # What is to be differentiated as one vector is read as one.
    one_vector = method.family == "loss" or Need.FEATURES in method.needs
    joined = joined_losses(terms) if one_vector else None
    numbers = loss_numbers(method.name, tasks, terms, joined)
    if not any(loss.requires_grad for loss in terms):
        raise TaskError(f"{method.name}: no loss has a graph to differentiate")
    trunk = _leaves(method, "shared", shared)
    own = None if heads is None else _leaves(method, "heads", heads)
    given = None if features is None else _features(method, features)
    _check_served(method, given, extra)
    if not method.tasks:
        method.setup(
            tasks,
            device=terms[0].device,
            dtype=_parameter_dtype(terms[0].dtype),
            feature_dim=given[0].shape[1] if given and given[0].dim() > 1 else None,
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
        numbers = [numbers[order.index(task)] for task in tasks]
        terms = tuple(losses[task] for task in tasks)
        joined = None
        index = torch.tensor([method.tasks.index(task) for task in tasks], device="cpu")
    inputs = StepInputs(
        tasks=tasks,
        losses=terms,
        numbers=tuple(numbers),
        index=index,
        shared=trunk,
        heads=own,
        features=given,
        grad_scale=scale,
        extra=extra,
    )
    if joined is not None:
        vars(inputs)["joined"] = joined  # known already
    return inputs


def _checked_scale(method: Method, grad_scale: float) -> float:
    try:
        scale = float(grad_scale)
    except (TypeError, ValueError, RuntimeError):
        scale = math.nan
    if not 0.0 < scale < math.inf:
        raise ConfigurationError(
            f"{method.name}: grad_scale must be a finite number above 0, got {grad_scale!r}"
        )
    return scale


def _check_served(
    method: Method, features: tuple[Tensor, ...] | None, extra: Mapping[str, Any]
) -> None:
    """Refuses a step without the arguments that the method's needs ask for."""
    needs = method.needs
    if Need.FEATURES in needs and features is None:
        raise MissingNeedError(
            f"{method.name} needs features=, the shared features; pass them to backward"
        )
    if Need.EXTRA_BATCHES in needs:
        _check_extra_batches(method, extra.get("extra_losses"))
    if Need.VALIDATION_BATCH in needs:
        _check_closure(method, extra.get("closure"))
        _check_named_parameters(method, extra.get("named_parameters"))


def _check_extra_batches(method: Method, batches: Any) -> None:
    count: int = getattr(method, "extra_batches", 1)
    got = "none"
    if batches is not None:
        got = type(batches).__name__
        if isinstance(batches, list | tuple):
            strangers = [item for item in batches if not isinstance(item, Mapping)]
            if len(batches) == count and not strangers:
                return
            got = str(len(batches))
            if strangers:
                got = f"one that holds a {type(strangers[0]).__name__}"
    raise MissingNeedError(
        f"{method.name} needs extra_losses=, a list of the losses of {count} further batches at "
        f"the same parameters (a mapping from task names each), got {got}; pass them to backward"
    )


def _check_closure(method: Method, closure: Any) -> None:
    if closure is None or not callable(closure):
        got = "none" if closure is None else type(closure).__name__
        raise MissingNeedError(
            f"{method.name} needs closure=, which gives the losses of a split under given "
            f"parameters (ModelClosure), got {got}; pass it to backward"
        )
    try:
        signature = inspect.signature(closure)
    except ValueError:  # a function that cannot be looked into
        return
    try:
        signature.bind({}, "train")
    except TypeError as error:
        raise MissingNeedError(
            f"{method.name}: closure must take two arguments, parameters by name and the split "
            f"'train' or 'validation', got one of {signature}"
        ) from error


def _check_named_parameters(method: Method, named: Any) -> None:
    if not isinstance(named, Mapping) or not all(isinstance(p, Tensor) for p in named.values()):
        got = "none" if named is None else f"a {type(named).__name__}"
        if isinstance(named, Mapping):
            got = "one that holds something else"
        raise MissingNeedError(
            f"{method.name} needs named_parameters=, a mapping from names to the model's "
            f"parameters (dict(model.named_parameters())), got {got}; pass it to backward"
        )


def _tensors(method: Method, what: str, given: Iterable[Tensor]) -> tuple[Tensor, ...]:
    if isinstance(given, Tensor) or not isinstance(given, Iterable):
        raise TaskError(
            f"{method.name}: {what} must be an iterable of tensors, got a single "
            f"{type(given).__name__}"
        )
    tensors = tuple(given)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TaskError(
                f"{method.name}: {what} must hold tensors only, got {type(tensor).__name__}"
            )
    return tensors


def _leaves(method: Method, what: str, given: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The parameters among ``shared`` or ``heads`` that require a gradient."""
    leaves = []
    for tensor in _tensors(method, what, given):
        if not tensor.is_leaf:
            raise TaskError(
                f"{method.name}: {what} must hold leaves of the graph (parameters), got the "
                f"result of an operation, of shape {tuple(tensor.shape)}"
            )
        if tensor.requires_grad:
            leaves.append(tensor)
    return tuple(leaves)


def _features(method: Method, given: Tensor | Iterable[Tensor]) -> tuple[Tensor, ...]:
    if isinstance(given, Tensor):
        return (given,)
    return _tensors(method, "features", given)


@functools.cache
def _first_numbers(count: int) -> Tensor:
    """0, 1, ... count - 1."""
    return torch.arange(count, device="cpu")


def loss_numbers(
    name: str, tasks: Sequence[str], terms: Sequence[Tensor], joined: Tensor | None = None
) -> list[float]:
    """The values of losses, K numbers.

    Args:
        name: Whose losses they are, for errors.
        tasks: The K tasks.
        terms: Their K scalar losses.
        joined: The same as one vector, if there is one.

    Raises:
        TaskError: If one is no real scalar tensor.
        NonFiniteLossError: If one is NaN or infinite.
    """
    if joined is None:
        _check_scalars(name, tasks, terms)
        if not all(loss.is_cpu for loss in terms):
            joined = joined_losses(terms)  # one transfer instead of K
    numbers = [loss.item() for loss in terms] if joined is None else joined.tolist()
    if not all(map(math.isfinite, numbers)):
        task, value = next(
            pair for pair in zip(tasks, numbers, strict=True) if not math.isfinite(pair[1])
        )
        raise NonFiniteLossError(task, value)
    return numbers


def _check_scalars(name: str, tasks: Sequence[str], terms: Sequence[Tensor]) -> None:
    """Refuses what is no real scalar tensor, by name."""
    for task, loss in zip(tasks, terms, strict=True):
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
            found = type(loss).__name__
            if isinstance(loss, Tensor):
                found = str(tuple(loss.shape) if loss.is_floating_point() else loss.dtype)
            raise TaskError(
                f"{name}: the loss of task {task!r} must be a real scalar tensor, got {found}"
            )


def _parameter_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type of own parameters for losses of a type: never half precision."""
    return torch.float64 if dtype == torch.float64 else torch.float32
