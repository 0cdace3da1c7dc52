"""Where the graphs of several losses meet: the trunk, its uses of shared parameters, its heads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge

__all__ = ["Trunk", "Use", "find_trunk"]

Node = Any
Slot = tuple[Node, int]

# Nodes that hand a whole parameter on: a transposed or cast copy of it.
_HAND_ON = ("TBackward0", "ToCopyBackward0")


@dataclass(frozen=True)
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
    def __init__(
        self,
        losses: Sequence[Tensor],
        shared: Iterable[Tensor],
        heads: Iterable[Tensor] | None,
        stop_at: Sequence[Tensor],
    ) -> None:
        self.losses = losses
        self.shared = {id(parameter): parameter for parameter in shared}
        self.wanted = None if heads is None else {id(head) for head in heads}
        self.children: dict[Node, tuple[tuple[Node | None, int], ...]] = {}
        self.owner: dict[Node, int] = {}
        self.below: dict[Node, tuple[bool, bool]] = {}
        self.stops = [_edge_of(tensor) for tensor in stop_at if tensor.requires_grad]
        self.below.update((edge.node, (True, False)) for edge in self.stops)

    def trunk(self) -> Trunk | str:
        meeting = self._meeting_nodes()
        if not meeting:
            return "no two losses meet in the graph"
        common = self._descendants(meeting)
        if any(self._leaves_below(node)[1] for node in common):
            return "losses have nodes in common below which there are leaves that are not shared"
        return self._collect({node for node in common if self.below[node][0]})

    def _meeting_nodes(self) -> set[Node]:
        """Marks who reaches each node first; returns where a second loss arrives."""
        meeting: set[Node] = set()
        stops = {edge.node for edge in self.stops}
        for k, loss in enumerate(self.losses):
            if not loss.requires_grad:
                continue
            stack = [_edge_of(loss).node]
            while stack:
                node = stack.pop()
                known = self.owner.get(node)
                if known is not None:
                    if known != k:
                        meeting.add(node)
                    continue
                self.owner[node] = k
                if node in stops:
                    self.children[node] = ()
                    meeting.add(node)
                    continue
                children = node.next_functions
                self.children[node] = children
                for child, _ in children:
                    if child is not None:
                        stack.append(child)
        return meeting

    def _descendants(self, nodes: Iterable[Node]) -> set[Node]:
        found: set[Node] = set()
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack.extend(child for child, _ in self.children[node] if child is not None)
        return found

    def _variable(self, node: Node) -> Tensor | None:
        return None if self.children[node] else getattr(node, "variable", None)

    def _leaves_below(self, root: Node) -> tuple[bool, bool]:
        """Whether there are shared parameters and whether there are other wanted leaves."""
        below = self.below
        stack = [root]
        while stack:
            node = stack[-1]
            if node in below:
                stack.pop()
                continue
            children = [child for child, _ in self.children[node] if child is not None]
            waiting = [child for child in children if child not in below]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            variable = self._variable(node)
            if variable is not None:
                is_shared = id(variable) in self.shared
                wanted = self.wanted is None or id(variable) in self.wanted
                below[node] = (is_shared, not is_shared and wanted)
            else:
                below[node] = (
                    any(below[child][0] for child in children),
                    any(below[child][1] for child in children),
                )
        return below[root]

    def _collect(self, trunk: set[Node]) -> Trunk | str:
        edges: dict[Slot, int] = {}
        stops = {edge.node for edge in self.stops}
        entries = []
        leaves: list[list[Tensor]] = [[] for _ in self.losses]
        for node, k in self.owner.items():
            if node in trunk:
                continue
            variable = self._variable(node)
            if variable is not None:
                if id(variable) in self.shared:
                    return "a loss reaches a shared parameter by a way of its own"
                if self.wanted is None or id(variable) in self.wanted:
                    leaves[k].append(variable)
            slots = []
            for slot, (child, number) in enumerate(self.children[node]):
                if child is not None and child in trunk:
                    if child not in stops and self._handed_on(child) is not None:
                        return "a shared parameter is used outside the common trunk"
                    slots.append((slot, edges.setdefault((child, number), len(edges))))
            if slots:
                entries.append((node, tuple(slots), k))
        roots = []
        for k, loss in enumerate(self.losses):
            if loss.requires_grad:
                edge = _edge_of(loss)
                if edge.node in trunk:
                    position = edges.setdefault((edge.node, edge.output_nr), len(edges))
                    roots.append((k, position))
        if self.stops and not set(edges) <= {(e.node, e.output_nr) for e in self.stops}:
            return "losses reach the features by other ways than the features given"
        uses = self._uses(trunk)
        return Trunk(
            edges=tuple(GradientEdge(node, number) for node, number in edges),
            entries=tuple(entries),
            roots=tuple(roots),
            private_leaves=tuple(tuple(found) for found in leaves),
            uses=uses,
            parameters=tuple(p for key, p in self.shared.items() if key in uses),
            node_names=frozenset(node.name() for node in trunk if self.children[node]),
        )

    def _uses(self, trunk: Collection[Node]) -> dict[int, tuple[Use, ...]]:
        uses: dict[int, list[Use]] = {}
        for node in trunk:
            children = self.children[node]
            if not children or self._handed_on(node) is not None:
                continue
            for slot, (child, _) in enumerate(children):
                handed = None if child is None else self._handed_on(child)
                if handed is not None:
                    parameter, transposed = handed
                    uses.setdefault(id(parameter), []).append(Use(node, slot, transposed))
        return {key: tuple(found) for key, found in uses.items()}

    def _handed_on(self, node: Node) -> tuple[Tensor, bool] | None:
        """The leaf that a node hands on whole, and whether transposed."""
        transposed = False
        while True:
            children = self.children[node]
            if not children:
                variable = self._variable(node)
                return None if variable is None else (variable, transposed)
            name = node.name()
            if name not in _HAND_ON or children[0][0] is None:
                return None
            transposed ^= name == "TBackward0"
            node = children[0][0]


def _edge_of(tensor: Tensor) -> GradientEdge:
    if tensor.grad_fn is not None:
        return GradientEdge(tensor.grad_fn, tensor.output_nr)
    view = tensor.expand_as(tensor).grad_fn  # a leaf's own node is reached through any child
    assert view is not None
    own: Any = view.next_functions[0][0]
    return GradientEdge(own, 0)
