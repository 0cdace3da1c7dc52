"""The graph of a step as a list of nodes, and its structure in plain numbers.

The structure is the same from step to step while the nodes are not: what follows from it alone is
found once (:mod:`mtl_methods.exact_gram.layout`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["DEAD_END", "HEAD", "NO_CHILD", "OTHER", "STOP", "Node", "Structure", "list_graph"]

Node = Any

HEAD, OTHER, DEAD_END, STOP = -1, -2, -3, -4
"""Ends of a graph that are no shared parameter: a head's leaf, another leaf, a node without
inputs, a node below which nothing is looked at."""

NO_CHILD = -1
"""The position of an input without a graph."""


class Structure(NamedTuple):
    """A step's graph without its nodes.

    Attributes:
        tasks: Number of losses K.
        roots: For each loss with a graph: the loss, the position of its node, the node's output.
        stops: Outputs of stops that are reached: (position, output).
        nodes: For each position the node's name and, one after the other, the position and the
            output of each of its inputs; of an end one number: the place of the shared parameter,
            or what else it is.
    """

    tasks: int
    roots: tuple[tuple[int, int, int], ...]
    stops: tuple[tuple[int, int], ...]
    nodes: tuple[tuple[str | int, ...], ...]


def list_graph(
    losses: Sequence[Tensor],
    shared: Sequence[Tensor],
    heads: Iterable[Tensor] | None,
    stop_at: Sequence[Tensor],
) -> tuple[list[Node], Structure]:
    """Lists every node that a loss reaches, once, in an order that follows from the structure.

    Args:
        losses: K scalar losses.
        shared: The shared parameters, each once.
        heads: The leaves that count as heads; ``None`` for every other leaf.
        stop_at: Tensors below which nothing is looked at.

    Returns:
        The nodes by position, and the structure.
    """
    kinds = {id(head): HEAD for head in heads or ()}
    kinds.update((id(parameter), place) for place, parameter in enumerate(shared))
    other = HEAD if heads is None else OTHER
    stops = [_source(tensor) for tensor in stop_at if tensor.requires_grad]
    stopping = {node for node, _ in stops}
    positions: dict[Node, int] = {}
    nodes: list[Node] = []
    roots = []
    for k, loss in enumerate(losses):
        if loss.requires_grad:
            node, output = _source(loss)
            if node not in positions:
                positions[node] = len(nodes)
                nodes.append(node)
            roots.append((k, positions[node], output))
    found: list[tuple[str | int, ...]] = []
    for node in nodes:  # grows
        if node in stopping:
            found.append((STOP,))
            continue
        inputs = node.next_functions
        if not inputs:
            variable = getattr(node, "variable", None)
            found.append((DEAD_END if variable is None else kinds.get(id(variable), other),))
            continue
        entry: list[str | int] = [node.name()]
        for child, output in inputs:
            if child is None:
                entry += (NO_CHILD, 0)
                continue
            position = positions.get(child)
            if position is None:
                positions[child] = position = len(nodes)
                nodes.append(child)
            entry += (position, output)
        found.append(tuple(entry))
    reached = tuple([(positions[node], output) for node, output in stops if node in positions])
    return nodes, Structure(len(losses), tuple(roots), reached, tuple(found))


def _source(tensor: Tensor) -> tuple[Node, int]:
    """The node that made a tensor, and which of its outputs that is."""
    if tensor.grad_fn is not None:
        return tensor.grad_fn, tensor.output_nr
    view = tensor.expand_as(tensor).grad_fn  # a leaf's own node is reached through any child
    assert view is not None
    return view.next_functions[0][0], 0
