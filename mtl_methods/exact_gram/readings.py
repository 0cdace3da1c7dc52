"""Output gradients as a layer sees them: after the hooks on its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        targets: Tensors and edges to be differentiated by; tensors need no reading.
    """

    def __init__(self, targets: Sequence[Tensor | GradientEdge]) -> None:
        self._places: dict[Any, list[tuple[int, int]]] = {}
        for place, target in enumerate(targets):
            if isinstance(target, GradientEdge):
                self._places.setdefault(target.node, []).append((target.output_nr, place))
        self._read: dict[int, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Readings:
        for node, places in self._places.items():
            self._handles.append(node.register_prehook(self._reader(places)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def put_into(
        self, found: Sequence[Tensor | None], count: int, *, batched: bool
    ) -> list[Tensor | None]:
        """The gradients of a pass, as read here where that was so.

        Args:
            found: What autograd gave for each target.
            count: Number of tasks of the pass.
            batched: Whether they travelled as one batch, which is dimension 0 of the readings.
        """
        gradients = list(found)
        level = 0
        if batched:
            level = torch._C._vmapmode_increment_nesting()  # that of the batch, outside any other
            torch._C._vmapmode_decrement_nesting()
        for place, tensor in self._read.items():
            gradients[place] = (
                torch._remove_batch_dim(tensor, level, count, 0) if batched else tensor
            )
        self._read.clear()
        return gradients

    def _reader(self, places: list[tuple[int, int]]) -> Callable[[tuple[Tensor | None, ...]], None]:
        def read(gradients: tuple[Tensor | None, ...]) -> None:
            for slot, place in places:
                gradient = gradients[slot]
                if gradient is not None:
                    self._read[place] = gradient

        return read
