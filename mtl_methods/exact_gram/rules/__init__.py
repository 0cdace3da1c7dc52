"""Rules by the name of the graph node that they read. A new one is a file and its names here."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_methods.exact_gram.layer import Rule
from mtl_methods.exact_gram.rules.broadcast import ADD, MUL
from mtl_methods.exact_gram.rules.convolution import CONVOLUTION
from mtl_methods.exact_gram.rules.embedding import EMBEDDING
from mtl_methods.exact_gram.rules.linear import ADDMM, MM
from mtl_methods.exact_gram.rules.normalisation import BATCH_NORM, GROUP_NORM, LAYER_NORM

__all__ = ["RULES"]

RULES: Mapping[str, Rule] = {
    "AddmmBackward0": ADDMM,
    "MmBackward0": MM,
    "AddBackward0": ADD,
    "MulBackward0": MUL,
    "ConvolutionBackward0": CONVOLUTION,
    "EmbeddingBackward0": EMBEDDING,
    "NativeLayerNormBackward0": LAYER_NORM,
    "NativeBatchNormBackward0": BATCH_NORM,
    "NativeGroupNormBackward0": GROUP_NORM,
}
