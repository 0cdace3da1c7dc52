"""Linear layers: the weight's gradient is ``Δᵀ A`` with A the layer's input, rows flattened.

Inputs with further dimensions (sequences) reach the graph node as rows, so that one rule serves
all. Without bias the node is a plain matrix product; a bias then is a broadcast sum.
"""

from __future__ import annotations

from typing import NamedTuple

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
    sum_to,
)
from mtl_methods.exact_gram.listing import Node

__all__ = ["ADDMM", "MM"]

_BIAS, _ADDMM_WEIGHT, _MM_WEIGHT = 0, 2, 1


class _Facts(NamedTuple):
    """Rows and width of A; no width where A is sparse, or not saved, as the weight is frozen."""

    rows: int
    width: int | None = None


def _read_addmm(node: Node) -> NodeReading | None:
    if node._saved_alpha != 1 or node._saved_beta != 1:
        return None
    inputs = node._saved_mat1
    if inputs is None:
        sizes = getattr(node, "_saved_mat1_sym_sizes", None)
        return NodeReading(_Facts(int(sizes[0])), ()) if sizes else None
    return _read(inputs)


def _read_mm(node: Node) -> NodeReading | None:
    inputs = node._saved_self
    return None if inputs is None else _read(inputs)


def _read(inputs: Tensor) -> NodeReading:
    rows, width = inputs.shape
    if not is_readable(inputs):
        return NodeReading(_Facts(rows), ())
    return NodeReading(_Facts(rows, width), (inputs.detach(),))


def _use_addmm(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    """``bias + A @ weightᵀ``."""
    shape = entrance.shape
    if entrance.slot == _BIAS and not entrance.transposed and len(shape) == 1:
        summed = sum_to(shape)
        return BiasUse("bias", facts.rows * shape.numel(), lambda _, delta: summed(delta))
    return _product(facts, entrance) if entrance.slot == _ADDMM_WEIGHT else None


def _use_mm(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    """``A @ weightᵀ``."""
    return _product(facts, entrance) if entrance.slot == _MM_WEIGHT else None


def _product(facts: _Facts, entrance: Entrance) -> LayerUse | None:
    if facts.width is None or len(entrance.shape) != 2:
        return None
    out = entrance.shape[0 if entrance.transposed else 1]
    return MatrixUse(
        "linear",
        facts.rows * out,
        rows=facts.rows,
        width=facts.width,
        out=out,
        groups=1,
        inputs=_inputs,
        outputs=None,
        fold=None if entrance.transposed else Tensor.t,
        layout="linear, transposed" if entrance.transposed else "linear",
    )


def _inputs(saved: Saved) -> Tensor:
    return saved[0]


ADDMM = Rule(_read_addmm, _use_addmm)
MM = Rule(_read_mm, _use_mm)
