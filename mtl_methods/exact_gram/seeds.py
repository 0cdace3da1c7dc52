"""One pass through all heads: what each task sends down into the trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mtl_methods.core.head_gradient import HeadGradient
from mtl_methods.core.writing import filled_like, one_root
from mtl_methods.exact_gram.trunk import Trunk

__all__ = ["Seeds", "head_pass", "reading"]


class Seeds:
    """The gradient of each task at each edge of the trunk.

    Attributes:
        by_edge: For each edge, one tensor per task, ``None`` where the task does not arrive.
    """

    def __init__(self, edges: int, tasks: int) -> None:
        self.by_edge: list[list[Tensor | None]] = [[None] * tasks for _ in range(edges)]

    def add(self, edge: int, task: int, gradient: Tensor) -> None:
        """Adds a gradient to what has arrived."""
        known = self.by_edge[edge][task]
        self.by_edge[edge][task] = gradient if known is None else known + gradient

    def arriving(self) -> list[int]:
        """Edges at which any task arrives."""
        return [
            i
            for i, tensors in enumerate(self.by_edge)
            if any(tensor is not None for tensor in tensors)
        ]

    def of_tasks(self, edge: int, first: int, end: int) -> Tensor:
        """What the tasks first to end - 1 send to an edge, shape (end - first, ...)."""
        return torch.stack([self.of_task(edge, task) for task in range(first, end)])

    def of_task(self, edge: int, task: int) -> Tensor:
        """What one task sends to an edge, zeros if nothing."""
        gradient = self.by_edge[edge][task]
        if gradient is not None:
            return gradient
        return torch.zeros_like(next(t for t in self.by_edge[edge] if t is not None))


def head_pass(
    losses: Sequence[Tensor], trunk: Trunk, scale: float = 1.0
) -> tuple[Seeds, list[HeadGradient]]:
    """Differentiates all losses at once by their heads and by the trunk's edges.

    Every node above the trunk belongs to one loss, so that one backward pass of all losses keeps
    the tasks apart; hooks read what each hands to the trunk, before autograd adds it up.

    Args:
        losses: K scalar losses.
        trunk: Their trunk.
        scale: Factor on the losses.

    Returns:
        What arrives at the trunk, and the gradient of each task on its own leaves, times the
        scale. The graph of the trunk is kept.
    """
    seeds = Seeds(len(trunk.edges), len(losses))
    for task, edge in trunk.roots:
        seeds.add(edge, task, filled_like(losses[task], scale))
    rooted = {task for task, _ in trunk.roots}
    above = [loss for k, loss in enumerate(losses) if loss.requires_grad and k not in rooted]
    flat = [leaf for leaves in trunk.private_leaves for leaf in leaves]
    gradients: Sequence[Tensor | None] = ()
    entered = {edge for _, slots, _ in trunk.entries for _, edge in slots}
    if above and (flat or entered):
        wanted: list[Any] = [*flat, *(trunk.edges[edge] for edge in sorted(entered))]
        roots, root_seeds = one_root(above, [scale] * len(above))
        with reading(trunk, seeds):
            gradients = torch.autograd.grad(
                roots,
                wanted,
                root_seeds,
                retain_graph=len(trunk.edges) > 1,  # one edge may lie below another
                allow_unused=True,
            )
    heads, start = [], 0
    for leaves in trunk.private_leaves:
        end = start + len(leaves)
        heads.append(HeadGradient(leaves, tuple(gradients[start:end])))
        start = end
    return seeds, heads


@contextmanager
def reading(trunk: Trunk, seeds: Seeds) -> Iterator[None]:
    """What backward passes hand to the trunk is added to the seeds, task by task."""
    handles = [
        node.register_hook(_reader(seeds, slots, task)) for node, slots, task in trunk.entries
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _reader(
    seeds: Seeds, slots: tuple[tuple[int, int], ...], task: int
) -> Callable[[Any, Any], None]:
    def read(grad_inputs: tuple[Tensor | None, ...], _: Any) -> None:
        for slot, edge in slots:
            gradient = grad_inputs[slot]
            if gradient is not None:
                seeds.add(edge, task, gradient)

    return read
