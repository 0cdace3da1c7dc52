"""The graph of a step as a list of nodes, and its structure in plain numbers.

The structure is the same from step to step while the nodes are not: what follows from it alone is
found once (:mod:`mtl_methods.exact_gram.layout`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

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
        nodes: One position after the other: the node's name, the number of its inputs, and for each
            of them its position and which output it is; of an end only what it is, the place of a
            shared parameter or one of the ends above. Flat, since it is made in every step.
    """

    tasks: int
    roots: tuple[tuple[int, int, int], ...]
    stops: tuple[tuple[int, int], ...]
    nodes: tuple[str | int, ...]

    def by_position(self) -> Iterator[tuple[str | int, tuple[tuple[int, int], ...]]]:
        """For each position the name, or what end it is, and its inputs."""
        start = 0
        while start < len(self.nodes):
            first, end = self.nodes[start], start + 1
            inputs: tuple[tuple[int, int], ...] = ()
            if isinstance(first, str):
                end = start + 2 + 2 * int(self.nodes[start + 1])
                numbers = list(map(int, self.nodes[start + 2 : end]))
                inputs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
            yield first, inputs
            start = end


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
    for place, parameter in enumerate(shared):
        kinds[id(parameter)] = place
    other = HEAD if heads is None else OTHER
    stops = [_source(tensor) for tensor in stop_at if tensor.requires_grad]
    stopping = {node for node, _ in stops}
    positions: dict[Node, int] = {None: NO_CHILD}
    nodes: list[Node] = []
    roots = []
    for k, loss in enumerate(losses):
        if loss.requires_grad:
            node, output = _source(loss)
            if node not in positions:
                positions[node] = len(nodes)
                nodes.append(node)
            roots.append((k, positions[node], output))
    found: list[str | int] = []
    tell = found.append
    for node in nodes:  # grows
        if node in stopping:
            tell(STOP)
            continue
        inputs = node.next_functions
        if not inputs:
            variable = getattr(node, "variable", None)
            tell(DEAD_END if variable is None else kinds.get(id(variable), other))
            continue
        tell(node.name())
        tell(len(inputs))
        for child, output in inputs:
            position = positions.get(child)
            if position is None:
                position = positions[child] = len(nodes)
                nodes.append(child)
            tell(position)
            tell(output)
    reached = tuple([(positions[node], output) for node, output in stops if node in positions])
    return nodes, Structure(len(losses), tuple(roots), reached, tuple(found))


def _source(tensor: Tensor) -> tuple[Node, int]:
    """The node that made a tensor, and which of its outputs that is."""
    node: Node = tensor.grad_fn
    if node is None:  # a leaf
        return get_gradient_edge(tensor).node, 0
    return node, tensor.output_nr
