"""Task gradients on shared features by one backward pass through all heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.core.head_gradient import HeadGradient
from mtl_methods.exact_gram.seeds import head_pass
from mtl_methods.exact_gram.trunk import Trunk, find_trunk

__all__ = ["feature_gradients"]


def feature_gradients(
    losses: Sequence[Tensor],
    features: Sequence[Tensor],
    heads: Sequence[Tensor] | None,
    *,
    scale: float = 1.0,
) -> tuple[list[list[Tensor | None]], list[HeadGradient]] | None:
    """Differentiates all losses at once by the features and by their heads.

    Args:
        losses: K scalar losses.
        features: The shared features.
        heads: The leaves that count as heads; ``None`` for every leaf before the features.
        scale: Factor on the losses.

    Returns:
        For each feature the gradient of each task, ``None`` where there is none, and the gradient
        of each task on its own leaves, all times ``scale``. ``None`` if heads meet before the
        features, so that each loss must be differentiated by itself.
    """
    if any(feature.grad_fn is None for feature in features):
        return None
    trunk = _separate_heads(losses, features, heads)
    if trunk is None:
        found = find_trunk(losses, (), heads, stop_at=features)
        if isinstance(found, str):
            return None
        trunk = found
    seeds, head_gradients = head_pass(losses, trunk, scale)
    position: dict[Any, int] = {
        (edge.node, edge.output_nr): i for i, edge in enumerate(trunk.edges)
    }
    nothing: list[Tensor | None] = [None] * len(losses)
    edges = [position.get((feature.grad_fn, feature.output_nr)) for feature in features]
    return [nothing if edge is None else seeds.by_edge[edge] for edge in edges], head_gradients


def _separate_heads(
    losses: Sequence[Tensor], features: Sequence[Tensor], heads: Sequence[Tensor] | None
) -> Trunk | None:
    """What :func:`find_trunk` finds where heads have no node in common, in one look at each node.

    Returns:
        ``None`` where they have, or where a loss is a feature itself.
    """
    wanted = None if heads is None else {id(head) for head in heads}
    stops: dict[Any, list[int]] = {}
    for feature in features:
        stops.setdefault(feature.grad_fn, []).append(feature.output_nr)
    seen: set[Any] = set()
    edges: dict[tuple[Any, int], int] = {}
    entries = []
    leaves: list[tuple[Tensor, ...]] = []
    for k, loss in enumerate(losses):
        own: list[Tensor] = []
        leaves.append(())
        if not loss.requires_grad:
            continue
        root = loss.grad_fn
        if root is None or root in stops or root in seen:
            return None
        stack, mine = [root], {root}
        while stack:
            node = stack.pop()
            children = node.next_functions
            if not children:
                variable = getattr(node, "variable", None)
                if variable is not None and (wanted is None or id(variable) in wanted):
                    own.append(variable)
                continue
            slots = []
            for slot, (child, number) in enumerate(children):
                if child is None or child in mine:
                    continue
                if child in stops:
                    if number not in stops[child]:
                        return None
                    slots.append((slot, edges.setdefault((child, number), len(edges))))
                elif child in seen:
                    return None
                else:
                    mine.add(child)
                    stack.append(child)
            if slots:
                entries.append((node, tuple(slots), k))
        seen |= mine
        leaves[k] = tuple(own)
    return Trunk(
        edges=tuple(GradientEdge(node, number) for node, number in edges),
        entries=tuple(entries),
        roots=(),
        private_leaves=tuple(leaves),
        uses={},
        parameters=(),
        node_names=frozenset(),
    )
