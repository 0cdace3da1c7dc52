"""Adding gradients to ``.grad``, as autograd does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from mtl_methods.core.graph import reachable_leaves

__all__ = [
    "accumulate",
    "accumulate_weighted",
    "backward_two_ways",
    "backward_weighted",
    "calculating",
    "device_of",
    "filled_like",
    "give",
    "joined_losses",
    "one_root",
    "without_autocast",
]

_CPU = torch.device("cpu")
_NOTHING: AbstractContextManager[object] = nullcontext()


def device_of(tensor: Tensor) -> torch.device:
    """``tensor.device``, made anew only off the CPU: that takes as long as a small operation."""
    return _CPU if tensor.is_cpu else tensor.device


def without_autocast(device: str) -> AbstractContextManager[object]:
    """A context in which autocast is off on a device type; free of cost where it is off already."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return _NOTHING


def calculating(device: str) -> AbstractContextManager[object]:
    """A context for plain numbers: no graph, no autocast; free of cost where both is so already."""
    if torch.is_grad_enabled():
        return _calculating(device)
    return without_autocast(device)


@contextmanager
def _calculating(device: str) -> Iterator[None]:
    with torch.no_grad(), without_autocast(device):
        yield


def accumulate(
    parameters: Iterable[Tensor],
    gradients: Iterable[Tensor | None],
    scale: float = 1.0,
    *,
    owned: bool = False,
) -> None:
    """Adds ``scale * gradient`` to ``.grad`` of each parameter.

    A fresh ``.grad`` has the type and the memory layout of its parameter, as autograd's has.

    Args:
        parameters: Leaves.
        gradients: One gradient each, ``None`` for none.
        scale: A common factor.
        owned: Whether the gradients are the caller's to give away. Those that autograd returned
            are not: two leaves may share one, or it may be an expanded view.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            continue
        value = gradient.detach() if gradient.requires_grad else gradient
        if scale != 1.0:
            value = value * scale
        elif not owned and parameter.grad is None:
            value = value.clone()
        give(parameter, value)


def give(parameter: Tensor, value: Tensor) -> None:
    """Adds a value to ``.grad``, or makes it ``.grad`` where there is none and it fits.

    Fused optimisers (torch 2.13, CPU) pair the elements of parameter and gradient by their place
    in memory without a look at strides, so that another layout would move the wrong elements.

    Args:
        parameter: A leaf.
        value: Its gradient, without a graph, the caller's to give away.
    """
    if value.dtype != parameter.dtype:
        value = value.to(parameter.dtype)
    known = parameter.grad
    if known is not None:
        known += value
    elif (
        value.layout is not torch.strided
        or (value.is_contiguous() and parameter.is_contiguous())
        or value.stride() == parameter.stride()
    ):
        parameter.grad = value
    else:
        parameter.grad = torch.empty_like(parameter).copy_(value)


def accumulate_weighted(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    factors: Sequence[float],
) -> None:
    """Adds ``factors[i] * gradients[i]`` to ``.grad`` of each parameter, in few calls.

    A fresh ``.grad`` has the type and the memory layout of its parameter. No gradient is given
    away as it is: whether autograd, or a function of the user's, still holds its memory or handed
    it to another leaf too cannot be known, and optimisers and clipping write into ``.grad``.

    Args:
        parameters: Leaves; one may come several times.
        gradients: One gradient each as autograd returned it, ``None`` for none.
        factors: One number each.
    """
    if all(factor == 1.0 for factor in factors):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                give(parameter, gradient.detach().clone())
        return
    kept = [
        (parameter, gradient, factor)
        for parameter, gradient, factor in zip(parameters, gradients, factors, strict=True)
        if gradient is not None
    ]
    if not kept:
        return
    with torch.no_grad():
        values = torch._foreach_mul([g for _, g, _ in kept], [f for _, _, f in kept])
    for (parameter, _, _), value in zip(kept, values, strict=True):
        give(parameter, value)


def backward_weighted(
    losses: Sequence[Tensor],
    coefficients: Sequence[float],
    inputs: Sequence[Tensor] | None = None,
    retain_graph: bool = False,
    joined: Tensor | None = None,
) -> None:
    """One backward pass of ``sum_k coefficients[k] * losses[k]``.

    Losses without a graph or with coefficient 0 take no part, so that a 0 never meets an
    infinite local derivative.

    Args:
        losses: K scalar losses.
        coefficients: K numbers.
        inputs: The leaves to fill; default all.
        retain_graph: Whether the graph is needed again.
        joined: The losses as one vector with its graph, if there is one.
    """
    if inputs is not None and not inputs:
        return
    if joined is None or 0.0 in coefficients:
        kept = [
            (loss, coefficient)
            for loss, coefficient in zip(losses, coefficients, strict=True)
            if coefficient != 0.0 and loss.requires_grad
        ]
        if not kept:
            return
        losses, coefficients, joined = *zip(*kept, strict=True), None
    roots, seeds = one_root(losses, coefficients, joined)
    torch.autograd.backward(
        roots,
        seeds,
        retain_graph=retain_graph,
        inputs=None if inputs is None else list(inputs),
    )


def joined_losses(terms: Sequence[Tensor]) -> Tensor | None:
    """Losses as one vector with its graph, shape (K,); ``None`` unless all are scalars of a kind.

    One vector is read, and differentiated, in one operation.
    """
    first = terms[0]
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return None
    dtype, on_cpu = first.dtype, first.is_cpu
    for loss in terms:
        if (
            not isinstance(loss, Tensor)
            or loss.dim()
            or loss.dtype != dtype
            or loss.is_cpu != on_cpu
            or not (on_cpu or loss.device == first.device)
        ):
            return None
    kind = "cpu" if on_cpu else first.device.type
    if torch.is_grad_enabled() and not torch.is_autocast_enabled(kind):
        return torch.stack(tuple(terms))
    with torch.enable_grad(), without_autocast(kind):
        return torch.stack(tuple(terms))


def one_root(
    losses: Sequence[Tensor], coefficients: Sequence[float], joined: Tensor | None = None
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Roots and seeds of a backward pass of ``sum_k coefficients[k] * losses[k]``.

    Autograd checks every root by itself, so scalars of one kind become one vector.

    Args:
        losses: K >= 1 scalar losses with graphs.
        coefficients: K numbers.
        joined: The losses as one vector with its graph, if there is one.

    Returns:
        The roots and as many seeds.
    """
    if joined is None:
        joined = joined_losses(losses)
    if joined is not None:
        if all(coefficient == 1.0 for coefficient in coefficients):
            return [joined], [torch.ones_like(joined)]
        seeds = torch.tensor(coefficients, dtype=joined.dtype, device=device_of(joined))
        return [joined], [seeds]
    return losses, [
        filled_like(loss, coefficient)
        for loss, coefficient in zip(losses, coefficients, strict=True)
    ]


def filled_like(tensor: Tensor, number: float) -> Tensor:
    """A tensor of one number, infinite where it is beyond the type's range.

    ``torch.full_like`` raises there; a scaler of float16 losses is to see infinities and go down.
    """
    return torch.tensor(number, dtype=tensor.dtype, device=tensor.device).expand_as(tensor)


def backward_two_ways(
    losses: Sequence[Tensor],
    shared_factors: Sequence[float],
    head_factors: Sequence[float],
    shared: Iterable[Tensor],
    heads: Iterable[Tensor] | None,
    joined: Tensor | None = None,
) -> None:
    """Weighted sums of losses with other weights on the heads than on the shared parameters.

    Args:
        losses: K scalar losses.
        shared_factors: K coefficients for the shared parameters.
        head_factors: K coefficients for the heads.
        shared: The shared parameters.
        heads: The heads; ``None`` for every other leaf.
        joined: The losses as one vector with its graph, if there is one.
    """
    if shared_factors is head_factors or list(shared_factors) == list(head_factors):
        both = None if heads is None else {id(leaf): leaf for leaf in (*shared, *heads)}
        leaves = None if both is None else list(both.values())
        backward_weighted(losses, shared_factors, leaves, joined=joined)
        return
    shared_ids = {id(parameter) for parameter in shared}
    head_ids = None if heads is None else {id(head) for head in heads}
    reached = {id(leaf): leaf for found in reachable_leaves(losses) for leaf in found}
    trunk = [leaf for key, leaf in reached.items() if key in shared_ids]
    rest = [
        leaf
        for key, leaf in reached.items()
        if key not in shared_ids and (head_ids is None or key in head_ids)
    ]
    backward_weighted(losses, head_factors, rest, retain_graph=bool(trunk), joined=joined)
    backward_weighted(losses, shared_factors, trunk, joined=joined)
