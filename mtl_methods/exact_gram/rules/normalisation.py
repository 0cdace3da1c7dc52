"""Layer, batch and group norm: scale gradients are sums of Δ ∘ x̂, shift gradients sums of Δ."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_methods.exact_gram.layer import Entrance, GradientUse, LayerUse, NodeReading, Rule, Saved
from mtl_methods.exact_gram.listing import Node

__all__ = ["BATCH_NORM", "GROUP_NORM", "LAYER_NORM"]

_SCALE, _SHIFT = 1, 2


class _Facts(NamedTuple):
    """The shape of the inputs, and what else x̂ depends on.

    Attributes:
        shape: Of the inputs.
        epsilon: Of a batch norm with running statistics, which are variances; else ``None``:
            statistics are inverse standard deviations.
        groups: Of a group norm.
    """

    shape: torch.Size
    epsilon: float | None = None
    groups: int = 0


def _read(node: Node, epsilon: float | None = None, groups: int = 0) -> NodeReading:
    inputs = node._saved_input.detach()
    if epsilon is None:
        statistics = node._saved_result1.detach(), node._saved_result2.detach()
    else:
        statistics = node._saved_running_mean.detach(), node._saved_running_var.detach()
    return NodeReading(_Facts(inputs.shape, epsilon, groups), (inputs, *statistics))


def _read_batch_norm(node: Node) -> NodeReading:
    return _read(node, None if node._saved_training else node._saved_eps)


def _read_group_norm(node: Node) -> NodeReading:
    return _read(node, groups=node._saved_group)


def _use_layer_norm(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    """Normalised over the last dimensions, with the statistics of the forward pass."""
    lead = len(facts.shape) - len(entrance.shape)

    def normalised(saved: Saved) -> Tensor:
        inputs, mean, inverse = saved
        return (inputs - mean) * inverse

    def reduce(product: Tensor) -> Tensor:
        return product.sum(tuple(range(1, 1 + lead))) if lead else product

    return _use("layer norm", facts, entrance, normalised, reduce)


def _use_batch_norm(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    """Normalised per channel: by batch statistics in training, running ones in evaluation."""
    shape = (1, -1) + (1,) * (len(facts.shape) - 2)

    def normalised(saved: Saved) -> Tensor:
        inputs, mean, spread = saved
        inverse = spread if facts.epsilon is None else torch.rsqrt(spread + facts.epsilon)
        return (inputs - mean.view(shape)) * inverse.view(shape)

    return _use("batch norm", facts, entrance, normalised, _per_channel)


def _use_group_norm(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    """Normalised per sample and group of channels."""

    def normalised(saved: Saved) -> Tensor:
        inputs, mean, inverse = saved
        statistics = (facts.shape[0], facts.groups, 1)
        grouped = inputs.reshape(facts.shape[0], facts.groups, -1)
        unit: Tensor = (grouped - mean.reshape(statistics)) * inverse.reshape(statistics)
        return unit.reshape(facts.shape)

    return _use("group norm", facts, entrance, normalised, _per_channel)


def _per_channel(product: Tensor) -> Tensor:
    """Sums (c, N, C, ...) over samples and positions to (c, C)."""
    return product.sum([1, *range(3, product.dim())])


def _use(
    name: str,
    facts: _Facts,
    entrance: Entrance,
    normalised: Callable[[Saved], Tensor],
    reduce: Callable[[Tensor], Tensor],
) -> LayerUse | None:
    if entrance.transposed or entrance.slot not in (_SCALE, _SHIFT):
        return None

    def shift(_: Saved, delta: Tensor) -> Tensor:
        return reduce(delta)

    def scale(saved: Saved, delta: Tensor) -> Tensor:
        return reduce(delta * normalised(saved).to(delta.dtype))

    is_shift = entrance.slot == _SHIFT
    return GradientUse(name, facts.shape.numel(), shift if is_shift else scale)


LAYER_NORM = Rule(_read, _use_layer_norm)
BATCH_NORM = Rule(_read_batch_norm, _use_batch_norm)
GROUP_NORM = Rule(_read_group_norm, _use_group_norm)
