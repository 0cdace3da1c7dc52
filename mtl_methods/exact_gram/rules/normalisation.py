"""Layer, batch and group norm: scale gradients are sums of Δ ∘ x̂, shift gradients sums of Δ."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.exact_gram.layer import GradientUse, LayerUse
from mtl_methods.exact_gram.trunk import Use

__all__ = ["batch_norm", "group_norm", "layer_norm"]

_SCALE, _SHIFT = 1, 2


def layer_norm(use: Use, parameter: Tensor) -> LayerUse | None:
    """Normalised over the last dimensions, with the statistics of the forward pass."""
    node = use.node
    inputs = node._saved_input.detach()
    mean, inverse = node._saved_result1.detach(), node._saved_result2.detach()
    lead = inputs.dim() - parameter.dim()
    return _use(
        use,
        "layer norm",
        inputs,
        lambda: (inputs - mean) * inverse,
        lambda product: product.sum(tuple(range(1, 1 + lead))) if lead else product,
    )


def batch_norm(use: Use, parameter: Tensor) -> LayerUse | None:
    """Normalised per channel: by batch statistics in training, running ones in evaluation."""
    node = use.node
    inputs = node._saved_input.detach()
    if node._saved_training:
        mean, inverse = node._saved_result1.detach(), node._saved_result2.detach()
    else:
        mean = node._saved_running_mean.detach()
        inverse = torch.rsqrt(node._saved_running_var.detach() + node._saved_eps)
    shape = (1, -1) + (1,) * (inputs.dim() - 2)
    return _use(
        use,
        "batch norm",
        inputs,
        lambda: (inputs - mean.view(shape)) * inverse.view(shape),
        _per_channel,
    )


def group_norm(use: Use, parameter: Tensor) -> LayerUse | None:
    """Normalised per sample and group of channels."""
    node = use.node
    inputs = node._saved_input.detach()
    samples, groups = node._saved_N, node._saved_group
    mean = node._saved_result1.detach().reshape(samples, groups, 1)
    inverse = node._saved_result2.detach().reshape(samples, groups, 1)

    def normalised() -> Tensor:
        grouped = inputs.reshape(samples, groups, -1)
        unit: Tensor = (grouped - mean) * inverse
        return unit.reshape(inputs.shape)

    return _use(use, "group norm", inputs, normalised, _per_channel)


def _per_channel(product: Tensor) -> Tensor:
    """Sums (c, N, C, ...) over samples and positions to (c, C)."""
    return product.sum([1, *range(3, product.dim())])


def _use(
    use: Use,
    name: str,
    inputs: Tensor,
    normalised: Callable[[], Tensor],
    reduce: Callable[[Tensor], Tensor],
) -> LayerUse | None:
    if use.transposed or use.slot not in (_SCALE, _SHIFT):
        return None
    if use.slot == _SHIFT:
        gradient = reduce
    else:

        def gradient(delta: Tensor) -> Tensor:
            return reduce(delta * normalised().to(delta.dtype))

    return GradientUse(name, GradientEdge(use.node, 0), inputs.numel(), gradient)
