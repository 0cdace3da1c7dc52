"""Which leaves of the autograd graph each loss reaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

__all__ = ["reachable_leaves"]


def reachable_leaves(
    losses: Sequence[Tensor], stop_at: Iterable[Tensor] = ()
) -> list[tuple[Tensor, ...]]:
    """Finds, for each loss, the leaf tensors that its backward pass would fill.

    Every node of the graph is visited once, whatever the number of losses: the leaves below a node
    are kept as the bits of one integer.

    Args:
        losses: K tensors; those without a graph reach nothing.
        stop_at: Tensors behind which not to look (shared features).

    Returns:
        For each loss its leaves, each once, in a deterministic order.
    """
    below: dict[Any, int] = {
        get_gradient_edge(tensor).node: 0 for tensor in stop_at if tensor.requires_grad
    }
    leaves: list[Tensor] = []
    found: list[tuple[Tensor, ...]] = []
    for loss in losses:
        if not loss.requires_grad:
            found.append(())
            continue
        bits = _mark(get_gradient_edge(loss).node, below, leaves)
        found.append(tuple(leaf for i, leaf in enumerate(leaves) if bits >> i & 1))
    return found


def _mark(root: Any, below: dict[Any, int], leaves: list[Tensor]) -> int:
    """Fills ``below`` for all nodes under ``root``, children first; returns the root's bits."""
    stack = [root]
    while stack:
        node = stack[-1]
        if node in below:
            stack.pop()
            continue
        children = [child for child, _ in node.next_functions if child is not None]
        waiting = [child for child in children if child not in below]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        bits = 0
        variable = getattr(node, "variable", None)
        if variable is not None and not children:
            bits = 1 << len(leaves)
            leaves.append(variable)
        for child in children:
            bits |= below[child]
        below[node] = bits
    return below[root]
