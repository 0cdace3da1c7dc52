"""Where the graphs of several losses meet, from the structure of a step's graph alone."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mtl_methods.exact_gram.listing import HEAD, NO_CHILD, STOP, Structure

__all__ = ["Layout", "lay_out"]

_Inputs = tuple[tuple[int, int], ...]
_Uses = tuple[tuple[int, int, bool], ...]

# Nodes that hand a whole parameter on: a transposed or cast copy of it.
_HAND_ON = ("TBackward0", "ToCopyBackward0")
_STRUCTURES = 64  # are remembered: a model, its last batch, batches that lack a task


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """The trunk and the heads of a structure; nodes are positions in its list.

    The layouts of one structure are one object as long as it is remembered.

    Attributes:
        edges: Where task gradients enter the trunk: (node, output).
        entries: For each private node above the trunk, which of its inputs are which edges, and
            the loss that the node belongs to: (node, ((slot, edge), ...), loss).
        roots: Losses that are trunk nodes themselves: (loss, edge).
        private_leaves: For each loss, the leaves that it alone reaches.
        uses: For each shared parameter in use its place and its uses in the trunk: the node that
            consumes it, the slot among the node's inputs, whether it enters transposed.
        users: These nodes, each once, with their names.
        node_names: Names of all trunk nodes that are no leaves.
    """

    edges: tuple[tuple[int, int], ...]
    entries: tuple[tuple[int, tuple[tuple[int, int], ...], int], ...]
    roots: tuple[tuple[int, int], ...]
    private_leaves: tuple[tuple[int, ...], ...]
    uses: tuple[tuple[int, _Uses], ...]
    users: tuple[tuple[int, str], ...]
    node_names: frozenset[str]


@functools.lru_cache(maxsize=_STRUCTURES)
def lay_out(structure: Structure) -> Layout | str:
    """Finds the trunk.

    Every node is looked at a few times, whatever the number of losses. A node that only one loss
    reaches belongs to its head; the nodes that several reach and below which there are only shared
    parameters are the trunk.

    Args:
        structure: Of the step's graph.

    Returns:
        The layout, or one clause that says why the graph has none.
    """
    return _Search(structure).layout()


class _Search:
    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.inputs: list[_Inputs] = []
        self.names: dict[int, str] = {}
        self.ends: dict[int, int] = {}  # what each end is
        for position, (first, inputs) in enumerate(structure.by_position()):
            self.inputs.append(inputs)
            if isinstance(first, str):
                self.names[position] = first
            else:
                self.ends[position] = first
        self.owner: dict[int, int] = {}

    def layout(self) -> Layout | str:
        meeting = self._meeting_nodes()
        if not meeting:
            return "no two losses meet in the graph"
        common = self._descendants(meeting)
        if any(self.ends.get(node) == HEAD for node in common):
            return "losses have nodes in common below which there are leaves that are not shared"
        return self._collect(self._above(common))

    def _children(self, node: int) -> Iterable[int]:
        return (child for child, _ in self.inputs[node] if child != NO_CHILD)

    def _meeting_nodes(self) -> set[int]:
        """Marks who reaches each node first; returns where a second loss arrives, and stops."""
        meeting: set[int] = set()
        for loss, root, _ in self.structure.roots:
            stack = [root]
            while stack:
                node = stack.pop()
                if self.ends.get(node) == STOP:
                    meeting.add(node)
                if node not in self.owner:
                    self.owner[node] = loss
                    stack += self._children(node)
                elif self.owner[node] != loss:
                    meeting.add(node)
        return meeting

    def _descendants(self, nodes: Iterable[int]) -> set[int]:
        found: set[int] = set()
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack += self._children(node)
        return found

    def _above(self, common: set[int]) -> set[int]:
        """The nodes in common from which a shared parameter, or a stop, is reached."""
        parents: dict[int, list[int]] = {}
        for node in common:
            for child in self._children(node):
                parents.setdefault(child, []).append(node)
        found: set[int] = set()
        stack = [n for n in common if self._is_shared(n) or self.ends.get(n) == STOP]
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack += parents.get(node, ())
        return found

    def _is_shared(self, node: int) -> bool:
        return self.ends.get(node, HEAD) >= 0

    def _collect(self, trunk: set[int]) -> Layout | str:
        leaves: list[list[int]] = [[] for _ in range(self.structure.tasks)]
        for node, kind in self.ends.items():
            if node in trunk:
                continue
            if kind >= 0:
                return "a loss reaches a shared parameter by a way of its own"
            if kind == HEAD:
                leaves[self.owner[node]].append(node)
        handed = self._handed_on(trunk)
        edges: dict[tuple[int, int], int] = {}
        entries = []
        for node, inputs in enumerate(self.inputs):
            if node in trunk:
                continue
            slots: tuple[tuple[int, int], ...] = ()
            for slot, (child, output) in enumerate(inputs):
                if child in trunk:
                    if child in handed:
                        return "a shared parameter is used outside the common trunk"
                    slots = (*slots, (slot, edges.setdefault((child, output), len(edges))))
            if slots:
                entries.append((node, slots, self.owner[node]))
        if any(node in handed for _, node, _ in self.structure.roots):
            return "a loss is a shared parameter itself"
        roots = [
            (loss, edges.setdefault((node, output), len(edges)))
            for loss, node, output in self.structure.roots
            if node in trunk
        ]
        stops = self.structure.stops
        if stops and not set(edges) <= set(stops):
            return "losses reach the features by other ways than the features given"
        uses = self._uses(trunk, handed)
        users = sorted({node for _, found in uses for node, _, _ in found})
        return Layout(
            edges=tuple(edges),
            entries=tuple(entries),
            roots=tuple(roots),
            private_leaves=tuple(map(tuple, leaves)),
            uses=uses,
            users=tuple((node, self.names[node]) for node in users),
            node_names=frozenset(name for node, name in self.names.items() if node in trunk),
        )

    def _uses(
        self, trunk: Collection[int], handed: Mapping[int, tuple[int, bool]]
    ) -> tuple[tuple[int, _Uses], ...]:
        uses: dict[int, list[tuple[int, int, bool]]] = {}
        for node in sorted(trunk):
            if node in handed:
                continue
            for slot, (child, _) in enumerate(self.inputs[node]):
                if child in handed:
                    place, transposed = handed[child]
                    uses.setdefault(place, []).append((node, slot, transposed))
        return tuple((place, tuple(uses[place])) for place in sorted(uses))

    def _handed_on(self, trunk: Collection[int]) -> dict[int, tuple[int, bool]]:
        """The nodes that hand on a whole parameter, its place, and whether it is transposed."""
        handed = {node: (self.ends[node], False) for node in trunk if self._is_shared(node)}
        for node, name in self.names.items():
            if node not in trunk or name not in _HAND_ON:
                continue
            below, transposed = node, False
            while self.names.get(below) in _HAND_ON:
                transposed ^= self.names[below] == "TBackward0"
                below = self.inputs[below][0][0]
            if self._is_shared(below):
                handed[node] = self.ends[below], transposed
        return handed
