"""Memory that lives from step to step, since fresh large memory costs more than filling it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from mtl_methods.exact_gram.memory import is_sole_owner

__all__ = ["Workspace"]

_VIEWS = 64  # of scratch memory are remembered: making one takes as long as a small product


class Workspace:
    """Buffers by key, and scratch memory."""

    def __init__(self) -> None:
        self._free: dict[Hashable, Tensor] = {}
        self._taken: dict[Hashable, Tensor] = {}
        self._gifts: dict[Hashable, Tensor] = {}
        self._given: dict[Hashable, Tensor] = {}
        self._scratch: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._views: dict[tuple[torch.Size, torch.dtype, torch.device], Tensor] = {}

    def reset(self) -> None:
        """Begins a step: memory of the last one is free, older one is dropped."""
        self._free, self._taken = self._taken, {}
        self._gifts, self._given = self._given, {}

    def take(
        self, key: Hashable, shape: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """A buffer with any content, the same for the same key as long as it fits exactly."""
        buffer = self._free.pop(key, None)
        wanted = (torch.Size(shape), dtype, device)
        if buffer is None or (buffer.shape, buffer.dtype, buffer.device) != wanted:
            buffer = torch.empty(tuple(shape), dtype=dtype, device=device)
        self._taken[key] = buffer
        return buffer

    def gift(
        self, key: Hashable, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """Memory with any content to be given away.

        On a CPU it is that of the last gift of the key if nobody else has it any more, as of a
        gradient that was cleared: the operating system would hand out fresh memory page by page.
        """
        if device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=device)
        known = self._gifts.pop(key, None)
        if known is not None and (known.shape != shape or known.dtype != dtype):
            known = None
        if known is None or not is_sole_owner(known):
            known = torch.empty(shape, dtype=dtype, device=device)
        self._given[key] = known
        return known.detach()  # another tensor, so that whoever holds it counts as another owner

    def scratch_like(self, tensor: Tensor) -> Tensor:
        """Memory for a result of a tensor's shape, type and device.

        It is to be used up before the next call, which hands it out again.
        """
        key = (tensor.shape, tensor.dtype, tensor.device)
        view = self._views.get(key)
        return self._new_view(key) if view is None else view

    def _new_view(self, key: tuple[torch.Size, torch.dtype, torch.device]) -> Tensor:
        shape, dtype, device = key
        size = shape.numel()
        memory = self._scratch.get((dtype, device))
        if memory is None or memory.numel() < size:
            memory = self._scratch[dtype, device] = torch.empty(size, dtype=dtype, device=device)
            self._views.clear()  # they hold on to the smaller memory
        if len(self._views) >= _VIEWS:
            self._views.clear()
        view = self._views[key] = memory[:size].view(shape)
        return view
