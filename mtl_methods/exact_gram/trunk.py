"""Where the graphs of several losses meet: the trunk, its uses of shared parameters, its heads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge

__all__ = ["Slot", "Trunk", "Use", "find_trunk"]

Node = Any
Slot = tuple[Node, int]

# Nodes that hand a whole parameter on: a transposed or cast copy of it.
_HAND_ON = ("TBackward0", "ToCopyBackward0")


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

    Every node is visited a few times, whatever the number of losses. A node that only one loss
    reaches belongs to its head; the nodes that several reach and below which there are only shared
    parameters are the trunk.

    Args:
        losses: K scalar losses.
        shared: The shared parameters.
        heads: The leaves that count as heads; ``None`` for every other leaf.
        stop_at: Tensors that are the trunk's output by decree (shared features); nothing below
            them is looked at.

    Returns:
        The trunk, or one clause that says why the graph has none.
    """
    walk = _Walk(losses, shared, heads, stop_at)
    return walk.trunk()


class _Walk:
    """One walk through a step's graph; it is taken in every step, so that it counts."""

    def __init__(
        self,
        losses: Sequence[Tensor],
        shared: Iterable[Tensor],
        heads: Iterable[Tensor] | None,
        stop_at: Sequence[Tensor],
    ) -> None:
        self.tasks = len(losses)
        self.roots = [(k, _edge_of(loss)) for k, loss in enumerate(losses) if loss.requires_grad]
        self.shared = {id(parameter): parameter for parameter in shared}
        self.wanted = None if heads is None else {id(head) for head in heads}
        self.children: dict[Node, tuple[tuple[Node | None, int], ...]] = {}
        self.owner: dict[Node, int] = {}
        self.variables: dict[Node, Tensor] = {}
        stops = [_edge_of(tensor) for tensor in stop_at if tensor.requires_grad]
        self.stops = {(edge.node, edge.output_nr) for edge in stops}
        self.stopping = {edge.node for edge in stops}

    def trunk(self) -> Trunk | str:
        meeting = self._meeting_nodes()
        if not meeting:
            return "no two losses meet in the graph"
        common = self._descendants(meeting)
        leaves = [node for node in common if node in self.variables]
        if any(self._wants(self.variables[leaf]) for leaf in leaves):
            return "losses have nodes in common below which there are leaves that are not shared"
        ends = [leaf for leaf in leaves if id(self.variables[leaf]) in self.shared]
        return self._collect(self._above(ends, common))

    def _meeting_nodes(self) -> set[Node]:
        """Marks who reaches each node first; returns where a second loss arrives."""
        owner, known_children, variables = self.owner, self.children, self.variables
        stopping = self.stopping
        meeting: set[Node] = set()
        for k, root in self.roots:
            stack = [root.node]
            while stack:
                node = stack.pop()
                if node in owner:
                    if owner[node] != k:
                        meeting.add(node)
                    continue
                owner[node] = k
                if node in stopping:
                    known_children[node] = ()
                    meeting.add(node)
                    continue
                known_children[node] = children = node.next_functions
                if children:
                    stack += [child for child, _ in children if child is not None]
                else:
                    variable = getattr(node, "variable", None)
                    if variable is not None:
                        variables[node] = variable
        return meeting

    def _descendants(self, nodes: Iterable[Node]) -> set[Node]:
        found: set[Node] = set()
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack += [child for child, _ in self.children[node] if child is not None]
        return found

    def _wants(self, leaf: Tensor) -> bool:
        """Whether a leaf counts as a head's."""
        if id(leaf) in self.shared:
            return False
        return self.wanted is None or id(leaf) in self.wanted

    def _above(self, ends: Sequence[Node], common: set[Node]) -> set[Node]:
        """The nodes in common from which one of the ends, or a stop, is reached."""
        parents: dict[Node, list[Node]] = {}
        for node in common:
            for child, _ in self.children[node]:
                if child is not None:
                    parents.setdefault(child, []).append(node)
        found: set[Node] = set()
        stack = [*ends, *(self.stopping & common)]
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack += parents.get(node, ())
        return found

    def _collect(self, trunk: set[Node]) -> Trunk | str:
        edges: dict[Slot, int] = {}
        entries = []
        leaves: list[list[Tensor]] = [[] for _ in range(self.tasks)]
        for node, variable in self.variables.items():
            if node in trunk:
                continue
            if id(variable) in self.shared:
                return "a loss reaches a shared parameter by a way of its own"
            if self.wanted is None or id(variable) in self.wanted:
                leaves[self.owner[node]].append(variable)
        handed, names = self._handed_on(trunk)
        for node, children in self.children.items():
            if node in trunk:
                continue
            slots: tuple[tuple[int, int], ...] = ()
            for slot, (child, number) in enumerate(children):
                if child in trunk:
                    if child in handed:
                        return "a shared parameter is used outside the common trunk"
                    slots = (*slots, (slot, edges.setdefault((child, number), len(edges))))
            if slots:
                entries.append((node, slots, self.owner[node]))
        roots = []
        for k, root in self.roots:
            if root.node in trunk:
                position = edges.setdefault((root.node, root.output_nr), len(edges))
                roots.append((k, position))
        if self.stops and not set(edges) <= self.stops:
            return "losses reach the features by other ways than the features given"
        uses = self._uses(trunk, handed)
        return Trunk(
            edges=tuple(GradientEdge(node, number) for node, number in edges),
            entries=tuple(entries),
            roots=tuple(roots),
            private_leaves=tuple(tuple(found) for found in leaves),
            uses=uses,
            parameters=tuple(p for key, p in self.shared.items() if key in uses),
            node_names=frozenset(names),
        )

    def _uses(
        self, trunk: Collection[Node], handed: Mapping[Node, tuple[Tensor, bool]]
    ) -> dict[int, tuple[Use, ...]]:
        uses: dict[int, list[Use]] = {}
        for node in trunk:
            if node in handed:
                continue
            for slot, (child, _) in enumerate(self.children[node]):
                if child in handed:
                    parameter, transposed = handed[child]
                    uses.setdefault(id(parameter), []).append(Use(node, slot, transposed))
        return {key: tuple(found) for key, found in uses.items()}

    def _handed_on(
        self, trunk: Collection[Node]
    ) -> tuple[dict[Node, tuple[Tensor, bool]], set[str]]:
        """The nodes that hand on a whole leaf, it, and whether transposed; names of other nodes."""
        handed = {
            node: (variable, False) for node, variable in self.variables.items() if node in trunk
        }
        names = {node: node.name() for node in trunk if node not in handed and self.children[node]}
        for node, name in names.items():
            if name not in _HAND_ON:
                continue
            below, transposed = node, False
            while names.get(below) in _HAND_ON:
                transposed ^= names[below] == "TBackward0"
                below = self.children[below][0][0]
            if below in self.variables:
                handed[node] = self.variables[below], transposed
        return handed, set(names.values())


def _edge_of(tensor: Tensor) -> GradientEdge:
    if tensor.grad_fn is not None:
        return GradientEdge(tensor.grad_fn, tensor.output_nr)
    view = tensor.expand_as(tensor).grad_fn  # a leaf's own node is reached through any child
    assert view is not None
    own: Any = view.next_functions[0][0]
    return GradientEdge(own, 0)
