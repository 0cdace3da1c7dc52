"""Rules by the name of the graph node that they read. A new one is a file and its names here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from mtl_methods.exact_gram.layer import LayerUse
from mtl_methods.exact_gram.rules import (
    broadcast,
    convolution,
    embedding,
    linear,
    normalisation,
)
from mtl_methods.exact_gram.trunk import Use

__all__ = ["RULES", "Rule", "layer_use"]

Rule = Callable[[Use, Tensor], "LayerUse | None"]

RULES: Mapping[str, Rule] = {
    "AddmmBackward0": linear.addmm,
    "MmBackward0": linear.mm,
    "AddBackward0": broadcast.add,
    "MulBackward0": broadcast.mul,
    "ConvolutionBackward0": convolution.convolution,
    "EmbeddingBackward0": embedding.embedding,
    "NativeLayerNormBackward0": normalisation.layer_norm,
    "NativeBatchNormBackward0": normalisation.batch_norm,
    "NativeGroupNormBackward0": normalisation.group_norm,
}


def layer_use(use: Use, parameter: Tensor) -> LayerUse | None:
    """What a rule knows of a use of a parameter; ``None`` if no rule covers it."""
    rule = RULES.get(use.node.name())
    return None if rule is None else rule(use, parameter)
