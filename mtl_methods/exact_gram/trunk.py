"""Where the graphs of several losses meet: the trunk below, the heads above."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.exact_gram.layout import Layout, lay_out
from mtl_methods.exact_gram.listing import Node, list_graph

__all__ = ["Trunk", "find_trunk", "private_leaves", "trunk_of"]


@dataclass(frozen=True)
class Trunk:
    """The upper end of the part of a step's graph that several losses share.

    Attributes:
        edges: Where task gradients enter the trunk.
        entries: For each private node above the trunk, which of its inputs are which edges, and
            the loss that the node belongs to: (node, ((slot, edge), ...), loss).
        roots: Losses that are trunk nodes themselves: (loss, edge).
        private_leaves: For each loss, the leaves that it alone reaches.
    """

    edges: tuple[GradientEdge, ...]
    entries: tuple[tuple[Node, tuple[tuple[int, int], ...], int], ...]
    roots: tuple[tuple[int, int], ...]
    private_leaves: tuple[tuple[Tensor, ...], ...]


def find_trunk(
    losses: Sequence[Tensor],
    heads: Iterable[Tensor] | None,
    stop_at: Sequence[Tensor],
) -> Trunk | str:
    """Finds the trunk of a step where its output is known.

    Args:
        losses: K scalar losses.
        heads: The leaves that count as heads; ``None`` for every leaf.
        stop_at: Tensors that are the trunk's output by decree (shared features); nothing below
            them is looked at.

    Returns:
        The trunk, or one clause that says why the graph has none.
    """
    nodes, structure = list_graph(losses, (), heads, stop_at)
    layout = lay_out(structure)
    return layout if isinstance(layout, str) else trunk_of(nodes, layout)


def trunk_of(nodes: Sequence[Node], layout: Layout) -> Trunk:
    """The trunk of a step.

    Args:
        nodes: The nodes of its graph.
        layout: Of their structure.
    """
    return Trunk(
        edges=tuple([GradientEdge(nodes[node], output) for node, output in layout.edges]),
        entries=tuple([(nodes[node], slots, loss) for node, slots, loss in layout.entries]),
        roots=layout.roots,
        private_leaves=private_leaves(nodes, layout),
    )


def private_leaves(nodes: Sequence[Node], layout: Layout) -> tuple[tuple[Tensor, ...], ...]:
    """For each loss, the leaves that it alone reaches."""
    return tuple([tuple([nodes[leaf].variable for leaf in own]) for own in layout.private_leaves])
