"""Embedding tables: rows of Δ added to the rows that were looked up."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from mtl_methods.exact_gram.layer import Entrance, LayerUse, NodeReading, RowUse, Rule, Saved
from mtl_methods.exact_gram.listing import Node

__all__ = ["EMBEDDING"]


class _Facts(NamedTuple):
    """How many rows were looked up, and the row without gradient, negative for none."""

    rows: int
    padding: int


def _read(node: Node) -> NodeReading | None:
    if node._saved_scale_grad_by_freq or node._saved_sparse:
        return None
    indices = node._saved_indices.detach()
    return NodeReading(_Facts(indices.numel(), _signed(node._saved_padding_idx)), (indices,))


def _use(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    """``weight[indices]``; the padding row has no gradient."""
    if entrance.transposed:
        return None

    def indices(saved: Saved) -> Tensor:
        found = saved[0].reshape(-1)
        if facts.padding < 0:
            return found
        return found.masked_fill(found == facts.padding, -1)

    width = entrance.shape[1]
    return RowUse("embedding", facts.rows * width, indices=indices, width=width)


def _signed(value: int) -> int:
    """The index as given; saved ones are read as unsigned."""
    return value - 2**64 if value >= 2**63 else value


EMBEDDING = Rule(_read, _use)
