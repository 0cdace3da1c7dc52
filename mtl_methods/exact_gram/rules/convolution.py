"""Convolutions: a linear layer on patches, with its stride, padding, dilation and groups."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.exact_gram.layer import BiasUse, LayerUse, MatrixUse, is_readable
from mtl_methods.exact_gram.trunk import Use

__all__ = ["convolution"]

_WEIGHT, _BIAS = 1, 2


def convolution(use: Use, parameter: Tensor) -> LayerUse | None:
    """1-d, 2-d and 3-d convolutions; transposed ones have no rule."""
    node = use.node
    inputs, weight = node._saved_input, node._saved_weight
    if use.transposed or node._saved_transposed or inputs is None or weight is None:
        return None
    if not is_readable(inputs):
        return None
    inputs = inputs.detach()
    kernel = tuple(weight.shape[2:])
    stride, padding = tuple(node._saved_stride), tuple(node._saved_padding)
    dilation, groups = tuple(node._saved_dilation), int(node._saved_groups)
    positions = [
        (size + 2 * pad - dilate * (length - 1) - 1) // step + 1
        for size, pad, dilate, length, step in zip(
            inputs.shape[2:], padding, dilation, kernel, stride, strict=True
        )
    ]
    batch, out = inputs.shape[0], weight.shape[0]
    rows = batch * math.prod(positions)
    edge = GradientEdge(node, 0)
    if use.slot == _BIAS:
        return BiasUse(
            "bias", edge, rows * out, lambda delta: delta.sum([1, *range(3, delta.dim())])
        )
    if use.slot != _WEIGHT:
        return None
    width = math.prod(weight.shape[1:])
    shape = parameter.shape
    several = (groups,) if groups > 1 else ()

    def patches() -> Tensor:
        """A, shape ([groups,] rows, channels of a group x kernel)."""
        view = _windows(inputs, kernel, stride, padding, dilation)
        dims = len(kernel)
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
        edge,
        rows * out,
        rows=rows,
        width=width,
        out=out // groups,
        groups=groups,
        inputs=patches,
        outputs=outputs,
        fold=lambda gradient: gradient.reshape(shape),
        layout=f"convolution, {groups} groups",
    )


def _windows(
    inputs: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Tensor:
    """A view (B, C, *positions, *kernel) of the padded input, nothing copied."""
    pads = [pad for size in reversed(padding) for pad in (size, size)]
    padded = torch.nn.functional.pad(inputs, pads) if any(pads) else inputs
    for axis, (length, step, dilate) in enumerate(zip(kernel, stride, dilation, strict=True)):
        reach = dilate * (length - 1) + 1
        padded = padded.unfold(2 + axis, reach, step)[..., ::dilate]
    return padded
