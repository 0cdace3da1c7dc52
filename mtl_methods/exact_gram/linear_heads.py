"""Heads that begin with a linear layer on the shared features: their products all at once.

Autograd takes three small products for each head. What it hands to the layers' outputs is enough to
take those of all heads together. What the layers' nodes have saved is read for it: layers under
``torch.utils.checkpoint`` are recomputed once more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.core.head_gradient import HeadGradient, write_heads
from mtl_methods.core.writing import calculating, give
from mtl_methods.exact_gram.layer import is_readable
from mtl_methods.exact_gram.listing import Node
from mtl_methods.exact_gram.trunk import Trunk

__all__ = ["HeadGraph", "LinearHeads", "linear_heads"]

_Inputs = tuple[tuple[Node | None, int], ...]

_FEWEST = 6  # heads: with fewer, a second pass costs more than it saves

# For each layer's node: the slots of its bias, its inputs and its weight.
_SLOTS = {"AddmmBackward0": (0, 1, 2), "MmBackward0": (None, 0, 1)}


@dataclass(frozen=True, slots=True)
class HeadGraph:
    """The graph of heads that have no node in common.

    Attributes:
        trunk: With one edge, the features.
        inputs: For each node of a head what ``next_functions`` says.
        again: Nodes that their head reaches by several ways.
    """

    trunk: Trunk
    inputs: Mapping[Node, _Inputs]
    again: Collection[Node]


@dataclass(eq=False, slots=True)
class _Layer:
    """The first layer of a head, ``Z W + b`` with the features Z, shape (B, d).

    Attributes:
        task: Whose head.
        node: Its node in the graph.
        matrix: W, shape (d, out).
        weight: The leaf, shape (out, d) if it is transposed to W, else (d, out); ``None`` if it is
            frozen.
        transposed: Whether it is.
        bias: The leaf, shape (out,), if there is one.
    """

    task: int
    node: Node
    matrix: Tensor
    weight: Tensor | None
    transposed: bool
    bias: Tensor | None


class LinearHeads:
    """The first layers of all heads that reach the features, and the leaves after them.

    With the gradient Δ_k on a layer's output, shape (B, out), that on the features is ``Δ_k W_kᵀ``,
    on the weight ``Zᵀ Δ_k``, on the bias the sum of Δ_k over the batch.

    Attributes:
        others: For each task the leaves after its first layer. Autograd differentiates by them,
            and by all ways to them: none may lie below the features.
    """

    def __init__(
        self,
        trunk: Trunk,
        layers: Sequence[_Layer],
        inputs: Tensor | None,
        wanted: Collection[int] | None,
    ) -> None:
        """Sorts them.

        Args:
            trunk: What is above it are the heads.
            layers: The first layers.
            inputs: The features Z, shape (B, d); ``None`` if all weights are frozen.
            wanted: The ``id`` of the leaves to fill; ``None`` for all.
        """
        self._layers, self._inputs = layers, inputs
        own = {id(leaf) for layer in layers for leaf in (layer.weight, layer.bias)}
        self._wanted = wanted
        self.others = [
            tuple(leaf for leaf in leaves if id(leaf) not in own and self._is_wanted(leaf))
            for leaves in trunk.private_leaves
        ]
        by_size: dict[int, list[int]] = {}
        for place, layer in enumerate(layers):
            by_size.setdefault(layer.matrix.shape[1], []).append(place)
        self._groups = list(by_size.values())  # of layers with outputs of one size
        self._outputs: list[Tensor] = []  # Δ of each group, shape (n, B, out)
        self._heads: list[HeadGradient] = []

    def _is_wanted(self, leaf: Tensor) -> bool:
        return self._wanted is None or id(leaf) in self._wanted

    def differentiate(
        self, roots: Sequence[Tensor], seeds: Sequence[Tensor], memory: Tensor
    ) -> bool:
        """Differentiates all losses at once, as far as the features.

        Args:
            roots: The losses, or one vector of them.
            seeds: A gradient for each.
            memory: Filled with the gradient of each task on the features, shape (K, B, d).

        Returns:
            Whether any gradient arrived there.
        """
        flat = [leaf for leaves in self.others for leaf in leaves]
        edges = [GradientEdge(layer.node, 0) for layer in self._layers]
        targets: list[Any] = [*edges, *flat]
        found = torch.autograd.grad(roots, targets, seeds, allow_unused=True)
        start = len(edges)
        for leaves in self.others:
            end = start + len(leaves)
            self._heads.append(HeadGradient(leaves, tuple(found[start:end])))
            start = end
        with calculating(memory.device.type):
            self._fill(found[: len(edges)], memory)
        return any(delta is not None for delta in found[: len(edges)])

    def _fill(self, deltas: Sequence[Tensor | None], memory: Tensor) -> None:
        if len(self._layers) < memory.shape[0]:
            memory.zero_()
        for group in self._groups:
            matrices = torch.stack([self._layers[place].matrix for place in group])
            outputs = torch.stack(
                [
                    matrices.new_zeros(memory.shape[1], matrices.shape[2])
                    if delta is None
                    else delta
                    for delta in (deltas[place] for place in group)
                ]
            )
            self._outputs.append(outputs)
            if len(group) == memory.shape[0]:
                torch.bmm(outputs, matrices.mT, out=memory)
            else:
                tasks = [self._layers[place].task for place in group]
                memory[tasks] = torch.bmm(outputs, matrices.mT)

    def write(self, factors: Sequence[float] | None) -> None:
        """Adds to ``.grad`` of every head's leaves the gradient of its loss, times its factor.

        Args:
            factors: K numbers; ``None`` for 1.
        """
        device = self._layers[0].matrix.device.type
        with calculating(device):
            for group, outputs in zip(self._groups, self._outputs, strict=True):
                self._write_group([self._layers[place] for place in group], outputs, factors)
        numbers = [1.0] * len(self._heads) if factors is None else factors
        write_heads(self._heads, numbers)

    def _write_group(
        self, layers: Sequence[_Layer], outputs: Tensor, factors: Sequence[float] | None
    ) -> None:
        if factors is not None:
            own = [factors[layer.task] for layer in layers]
            outputs *= torch.tensor(own, dtype=outputs.dtype, device=outputs.device)[:, None, None]
        biases = outputs.sum(1).unbind()
        for layer, bias in zip(layers, biases, strict=True):
            if layer.bias is not None and self._is_wanted(layer.bias):
                give(layer.bias, bias)
        if self._inputs is None:
            return
        inputs = self._inputs.expand(len(layers), *self._inputs.shape)
        weights = torch.bmm(outputs.mT, inputs).unbind()
        for layer, weight in zip(layers, weights, strict=True):
            if layer.weight is not None and self._is_wanted(layer.weight):
                give(layer.weight, weight if layer.transposed else weight.t())


def linear_heads(
    graph: HeadGraph, features: Tensor, wanted: Collection[int] | None
) -> LinearHeads | None:
    """Finds the first layers of heads.

    Args:
        graph: The graph of the heads.
        features: The shared features.
        wanted: The ``id`` of the leaves that count as heads; ``None`` for all.

    Returns:
        ``None`` where they are few, and unless every head that reaches the features begins with one
        linear layer on them, whose weight and bias it uses nowhere else, without hooks on them.
    """
    if len(graph.trunk.entries) < _FEWEST:
        return None
    if features.dim() != 2 or features.dtype not in (torch.float32, torch.float64):
        return None
    layers: list[_Layer] = []
    known: set[int] = set()
    inputs: Tensor | None = None
    for node, slots, task in graph.trunk.entries:
        of_layer = _SLOTS.get(node.name())
        if of_layer is None or task in known or len(slots) != 1 or slots[0][0] != of_layer[1]:
            return None
        layer = _layer(graph, node, task, of_layer)
        if layer is None or layer.matrix.dtype != features.dtype:
            return None
        known.add(task)
        layers.append(layer)
        if inputs is None and layer.weight is not None:
            inputs = node._saved_self if of_layer[0] is None else node._saved_mat1
    return LinearHeads(graph.trunk, layers, inputs, wanted) if layers else None


def _layer(
    graph: HeadGraph, node: Node, task: int, slots: tuple[int | None, int, int]
) -> _Layer | None:
    """What is known of a layer; ``None`` if its products are not to be taken here."""
    bias_slot, _, weight_slot = slots
    children = graph.inputs[node]
    bias: Tensor | None = None
    if bias_slot is not None:
        if node._saved_alpha != 1 or node._saved_beta != 1:
            return None
        if children[bias_slot][0] is not None:
            bias = _leaf(graph, children[bias_slot][0])
            if bias is None or bias.dim() != 1:
                return None
    weight, transposed = None, False
    below = children[weight_slot][0]
    if below is not None:
        if below.name() == "TBackward0" and below not in graph.again:
            below, transposed = graph.inputs[below][0][0], True
        weight = _leaf(graph, below)
        if weight is None:
            return None
    matrix = node._saved_mat2
    if matrix is None or not is_readable(matrix):
        return None
    if bias is not None and bias.shape[0] != matrix.shape[1]:
        return None
    return _Layer(task, node, matrix, weight, transposed, bias)


def _leaf(graph: HeadGraph, node: Node) -> Tensor | None:
    """The leaf of a node that its head reaches by one way, unless it has hooks."""
    leaf: Tensor | None = getattr(node, "variable", None)
    if leaf is None or node in graph.again:
        return None
    if leaf._backward_hooks or leaf._post_accumulate_grad_hooks:
        return None
    return leaf
