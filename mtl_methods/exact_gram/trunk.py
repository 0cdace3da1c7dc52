"""Where the graphs of several losses meet: the trunk, its uses of shared parameters, its heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.exact_gram.layout import lay_out
from mtl_methods.exact_gram.listing import Node, list_graph

__all__ = ["Slot", "Trunk", "Use", "find_trunk"]

Slot = tuple[Node, int]


@dataclass(eq=False, slots=True)
class Use:
    """One place where a shared parameter enters a computation.

    Attributes:
        node: The graph node that consumes it.
        slot: The position among the node's inputs.
        transposed: Whether it enters transposed.
    """

    node: Node
    slot: int
    transposed: bool


@dataclass(frozen=True)
class Trunk:
    """The part of a step's graph that several losses share.

    Attributes:
        edges: Where task gradients enter the trunk.
        entries: For each private node above the trunk, which of its inputs are which edges, and
            the loss that the node belongs to: (node, ((slot, edge), ...), loss).
        roots: Losses that are trunk nodes themselves: (loss, edge).
        private_leaves: For each loss, the leaves that it alone reaches.
        uses: For each shared parameter (by ``id``), its uses in the trunk.
        parameters: These parameters, in the order of ``shared``.
        node_names: Names of all trunk nodes that are no leaves.
    """

    edges: tuple[GradientEdge, ...]
    entries: tuple[tuple[Node, tuple[tuple[int, int], ...], int], ...]
    roots: tuple[tuple[int, int], ...]
    private_leaves: tuple[tuple[Tensor, ...], ...]
    uses: Mapping[int, tuple[Use, ...]]
    parameters: tuple[Tensor, ...]
    node_names: frozenset[str]


def find_trunk(
    losses: Sequence[Tensor],
    shared: Iterable[Tensor],
    heads: Iterable[Tensor] | None,
    stop_at: Sequence[Tensor] = (),
) -> Trunk | str:
    """Finds the trunk of a step.

    Args:
        losses: K scalar losses.
        shared: The shared parameters.
        heads: The leaves that count as heads; ``None`` for every other leaf.
        stop_at: Tensors that are the trunk's output by decree (shared features); nothing below
            them is looked at.

    Returns:
        The trunk, or one clause that says why the graph has none.
    """
    parameters = list({id(parameter): parameter for parameter in shared}.values())
    nodes, structure = list_graph(losses, parameters, heads, stop_at)
    layout = lay_out(structure)
    if isinstance(layout, str):
        return layout
    return Trunk(
        edges=tuple([GradientEdge(nodes[node], output) for node, output in layout.edges]),
        entries=tuple([(nodes[node], slots, loss) for node, slots, loss in layout.entries]),
        roots=layout.roots,
        private_leaves=tuple(
            [tuple([nodes[leaf].variable for leaf in own]) for own in layout.private_leaves]
        ),
        uses={
            id(parameters[place]): tuple([Use(nodes[n], slot, turned) for n, slot, turned in uses])
            for place, uses in layout.uses
        },
        parameters=tuple([parameters[place] for place, _ in layout.uses]),
        node_names=layout.node_names,
    )
