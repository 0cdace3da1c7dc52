"""Linear layers: the weight's gradient is ``Δᵀ A`` with A the layer's input, rows flattened.

Inputs with further dimensions (sequences) reach the graph node as rows, so that one rule serves
all. Without bias the node is a plain matrix product; a bias then is a broadcast sum.
"""

from __future__ import annotations

from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.exact_gram.layer import BiasUse, LayerUse, MatrixUse, is_readable, sum_to
from mtl_methods.exact_gram.trunk import Use

__all__ = ["addmm", "mm"]

_BIAS, _ADDMM_WEIGHT, _MM_WEIGHT = 0, 2, 1


def addmm(use: Use, parameter: Tensor) -> LayerUse | None:
    """``bias + A @ weightᵀ``."""
    node = use.node
    if node._saved_alpha != 1 or node._saved_beta != 1:
        return None
    if use.slot == _BIAS and not use.transposed and parameter.dim() == 1:
        rows = _rows(node)
        if rows is None:
            return None
        edge = GradientEdge(node, 0)
        return BiasUse("bias", edge, rows * parameter.numel(), sum_to(parameter.shape))
    if use.slot == _ADDMM_WEIGHT:
        return _product(use, parameter, node._saved_mat1)
    return None


def mm(use: Use, parameter: Tensor) -> LayerUse | None:
    """``A @ weightᵀ``."""
    if use.slot != _MM_WEIGHT:
        return None
    return _product(use, parameter, use.node._saved_self)


def _rows(node: object) -> int | None:
    sizes = getattr(node, "_saved_mat1_sym_sizes", None)
    return None if not sizes else int(sizes[0])


def _product(use: Use, parameter: Tensor, inputs: Tensor | None) -> LayerUse | None:
    if inputs is None or parameter.dim() != 2 or not is_readable(inputs):
        return None
    rows, width = inputs.shape
    out = parameter.shape[0] if use.transposed else parameter.shape[1]
    transposed = use.transposed
    matrix = inputs.detach()
    return MatrixUse(
        "linear",
        GradientEdge(use.node, 0),
        rows * out,
        rows=rows,
        width=width,
        out=out,
        groups=1,
        inputs=lambda: matrix,
        outputs=None,
        fold=lambda gradient: gradient if transposed else gradient.t(),
        layout="linear, transposed" if transposed else "linear",
    )
