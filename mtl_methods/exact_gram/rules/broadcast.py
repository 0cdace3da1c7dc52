"""Parameters that are added or multiplied on: biases, positional embeddings, scales."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mtl_methods.exact_gram.layer import (
    Entrance,
    GradientUse,
    LayerUse,
    NodeReading,
    Rule,
    Saved,
    is_readable,
    sum_to,
)
from mtl_methods.exact_gram.listing import Node

__all__ = ["ADD", "MUL"]


class _Facts(NamedTuple):
    """The shape of the result and, of a product, the factors that can be computed with."""

    shape: torch.Size
    factors: tuple[int, ...] = ()


def _read_add(node: Node) -> NodeReading | None:
    shape = _output_shape(node)
    return None if node._saved_alpha != 1 or shape is None else NodeReading(_Facts(shape), ())


def _use_add(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    """``x + parameter``: the gradient is Δ, summed where it was broadcast."""
    if entrance.transposed:
        return None
    summed = sum_to(entrance.shape)
    return GradientUse("sum", facts.shape.numel(), lambda _, delta: summed(delta))


def _read_mul(node: Node) -> NodeReading | None:
    shape = _output_shape(node)
    if shape is None:
        return None
    readable = [
        (slot, factor.detach())
        for slot, factor in enumerate((node._saved_self, node._saved_other))
        if isinstance(factor, Tensor) and is_readable(factor)
    ]
    slots = tuple(slot for slot, _ in readable)
    return NodeReading(_Facts(shape, slots), tuple(factor for _, factor in readable))


def _use_mul(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    """``x * parameter``: the gradient is Δ ∘ x, summed where it was broadcast."""
    other = 1 - entrance.slot
    if entrance.transposed or other not in facts.factors:
        return None
    place = facts.factors.index(other)
    summed = sum_to(entrance.shape)

    def gradient(saved: Saved, delta: Tensor) -> Tensor:
        return summed(delta * saved[place].to(delta.dtype))

    return GradientUse("product", facts.shape.numel(), gradient)


def _output_shape(node: Node) -> torch.Size | None:
    metadata = getattr(node, "_input_metadata", None)
    return None if not metadata else torch.Size(metadata[0].shape)


ADD = Rule(_read_add, _use_add)
MUL = Rule(_read_mul, _use_mul)
