"""Convolutions: a linear layer on patches, with its stride, padding, dilation and groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_methods.exact_gram.layer import (
    BiasUse,
    Entrance,
    LayerUse,
    MatrixUse,
    NodeReading,
    Rule,
    Saved,
    is_readable,
)
from mtl_methods.exact_gram.listing import Node

__all__ = ["CONVOLUTION"]

_WEIGHT, _BIAS = 1, 2

_Sizes = tuple[int, ...]


class _Facts(NamedTuple):
    """Shapes and settings."""

    inputs: torch.Size
    weight: torch.Size
    stride: _Sizes
    padding: _Sizes
    dilation: _Sizes
    groups: int

    def positions(self) -> list[int]:
        """How many places the kernel has along each axis."""
        return [
            (size + 2 * pad - dilate * (length - 1) - 1) // step + 1
            for size, pad, dilate, length, step in zip(
                self.inputs[2:],
                self.padding,
                self.dilation,
                self.weight[2:],
                self.stride,
                strict=True,
            )
        ]


def _read(node: Node) -> NodeReading | None:
    inputs, weight = node._saved_input, node._saved_weight
    if node._saved_transposed or inputs is None or weight is None or not is_readable(inputs):
        return None
    axes = weight.dim() - 2
    facts = _Facts(
        inputs.shape,
        weight.shape,
        _for_each(axes, node._saved_stride),
        _for_each(axes, node._saved_padding),
        _for_each(axes, node._saved_dilation),
        int(node._saved_groups),
    )
    return NodeReading(facts, (inputs.detach(),))


def _for_each(axes: int, sizes: Sequence[int]) -> _Sizes:
    """A number for each axis; one alone is for all (``padding="valid"``)."""
    return tuple(sizes) if len(sizes) == axes else axes * tuple(sizes)


def _use(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    """1-d, 2-d and 3-d convolutions; transposed ones have no rule."""
    if entrance.transposed:
        return None
    batch, out, groups = facts.inputs[0], facts.weight[0], facts.groups
    kernel, positions = facts.weight[2:], facts.positions()
    rows = batch * math.prod(positions)
    if entrance.slot == _BIAS:
        return BiasUse("bias", rows * out, lambda _, delta: delta.sum([1, *range(3, delta.dim())]))
    if entrance.slot != _WEIGHT:
        return None
    width = math.prod(facts.weight[1:])
    several = (groups,) if groups > 1 else ()

    def patches(saved: Saved) -> Tensor:
        """A, shape ([groups,] rows, channels of a group x kernel)."""
        dims = len(kernel)
        view = _windows(saved[0], facts)
        view = view.reshape(batch, groups, -1, *positions, *kernel)
        order = (1, 0, *range(3, 3 + dims), 2, *range(3 + dims, 3 + 2 * dims))
        return view.permute(order).reshape(*several, rows, width)

    def outputs(delta: Tensor) -> Tensor:
        """Δ, shape (c, [groups,] rows, channels of a group)."""
        count = delta.shape[0]
        grouped = delta.reshape(count, batch, groups, out // groups, -1)
        return grouped.permute(0, 2, 1, 4, 3).reshape(count, *several, rows, out // groups)

    return MatrixUse(
        "convolution",
        rows * out,
        rows=rows,
        width=width,
        out=out // groups,
        groups=groups,
        inputs=patches,
        outputs=outputs,
        fold=lambda gradient: gradient.reshape(entrance.shape),
        layout=f"convolution, {groups} groups",
    )


def _windows(inputs: Tensor, facts: _Facts) -> Tensor:
    """A view (B, C, *positions, *kernel) of the padded input, nothing copied."""
    pads = [pad for size in reversed(facts.padding) for pad in (size, size)]
    padded = torch.nn.functional.pad(inputs, pads) if any(pads) else inputs
    sizes = zip(facts.weight[2:], facts.stride, facts.dilation, strict=True)
    for axis, (length, step, dilate) in enumerate(sizes):
        reach = dilate * (length - 1) + 1
        padded = padded.unfold(2 + axis, reach, step)[..., ::dilate]
    return padded


CONVOLUTION = Rule(_read, _use)
