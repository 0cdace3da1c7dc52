"""Output gradients as a layer sees them: after the hooks on its output."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.utils.hooks import RemovableHandle

__all__ = ["Readings"]


class Readings:
    """Reads what arrives at nodes that a backward pass goes through.

    ``torch.autograd.grad`` gives the gradient at an edge after the tensor hooks there, but before
    them if the pass goes on through the edge's node. In that case the gradients are read here
    instead, by hooks that come last and last as long as the context.

    Args:
        wanted: Tensors and edges to be differentiated by; tensors need no reading.
    """

    def __init__(self, wanted: Iterable[Tensor | GradientEdge]) -> None:
        self._slots: dict[Any, list[int]] = {}
        for target in wanted:
            if isinstance(target, GradientEdge):
                self._slots.setdefault(target.node, []).append(target.output_nr)
        self._read: dict[tuple[Any, int], Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Readings:
        for node, slots in self._slots.items():
            self._handles.append(node.register_prehook(self._reader(node, slots)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def take(self, count: int, *, batched: bool) -> dict[tuple[Any, int], Tensor | None]:
        """What was read since the last call, by (node, slot).

        Args:
            count: Number of tasks of the pass.
            batched: Whether they travelled as one batch, which is dimension 0 of the readings.
        """
        read, self._read = self._read, {}
        if not batched:
            return {**read}
        level = torch._C._vmapmode_increment_nesting()  # that of the batch, outside any other
        torch._C._vmapmode_decrement_nesting()
        return {
            key: torch._remove_batch_dim(tensor, level, count, 0) for key, tensor in read.items()
        }

    def _reader(self, node: Any, slots: list[int]) -> Callable[[tuple[Tensor | None, ...]], None]:
        def read(gradients: tuple[Tensor | None, ...]) -> None:
            for slot in slots:
                gradient = gradients[slot]
                if gradient is not None:
                    self._read[node, slot] = gradient

        return read
