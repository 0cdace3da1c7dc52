"""Embedding tables: rows of Δ added to the rows that were looked up."""

from __future__ import annotations

from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.exact_gram.layer import LayerUse, RowUse
from mtl_methods.exact_gram.trunk import Use

__all__ = ["embedding"]


def embedding(use: Use, parameter: Tensor) -> LayerUse | None:
    """``weight[indices]``; the padding row has no gradient."""
    node = use.node
    if use.transposed or node._saved_scale_grad_by_freq or node._saved_sparse:
        return None
    indices = node._saved_indices.detach().reshape(-1)
    padding = _signed(node._saved_padding_idx)
    if padding >= 0:
        indices = indices.masked_fill(indices == padding, -1)
    width = parameter.shape[1]
    return RowUse(
        "embedding", GradientEdge(node, 0), indices.numel() * width, indices=indices, width=width
    )


def _signed(value: int) -> int:
    """The index as given; saved ones are read as unsigned."""
    return value - 2**64 if value >= 2**63 else value
