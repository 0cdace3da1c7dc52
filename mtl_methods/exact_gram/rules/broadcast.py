"""Parameters that are added or multiplied on: biases, positional embeddings, scales."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.exact_gram.layer import GradientUse, LayerUse, is_readable, sum_to
from mtl_methods.exact_gram.trunk import Use

__all__ = ["add", "mul"]


def add(use: Use, parameter: Tensor) -> LayerUse | None:
    """``x + parameter``: the gradient is Δ, summed where it was broadcast."""
    shape = _output_shape(use.node)
    if use.transposed or use.node._saved_alpha != 1 or shape is None:
        return None
    edge = GradientEdge(use.node, 0)
    return GradientUse("sum", edge, shape.numel(), sum_to(parameter.shape))


def mul(use: Use, parameter: Tensor) -> LayerUse | None:
    """``x * parameter``: the gradient is Δ ∘ x, summed where it was broadcast."""
    node = use.node
    other = node._saved_other if use.slot == 0 else node._saved_self
    shape = _output_shape(node)
    if use.transposed or shape is None or not isinstance(other, Tensor):
        return None
    if not is_readable(other):
        return None
    factor = other.detach()
    reduce = sum_to(parameter.shape)
    return GradientUse(
        "product",
        GradientEdge(node, 0),
        shape.numel(),
        lambda delta: reduce(delta * factor.to(delta.dtype)),
    )


def _output_shape(node: Any) -> torch.Size | None:
    metadata = getattr(node, "_input_metadata", None)
    return None if not metadata else torch.Size(metadata[0].shape)
