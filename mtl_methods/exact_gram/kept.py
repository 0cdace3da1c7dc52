"""What is kept of K tasks: each by itself where they are few, else all in one buffer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from mtl_methods.core.products import Block, dot_products, lower_products
from mtl_methods.exact_gram.memory import is_sole_owner
from mtl_methods.exact_gram.workspace import Workspace

__all__ = ["Kept", "KeptRows", "KeptTogether", "keep"]

_FEW = 4  # tasks that are kept each by itself: a product for each pair costs less than a buffer


class Kept(ABC):
    """One tensor for each of K tasks, all of a shape."""

    @abstractmethod
    def put(self, first: int, chunk: Tensor) -> None:
        """Keeps the tensors of the tasks from ``first`` on, shape (c, ...)."""

    @abstractmethod
    def put_one(self, task: int, row: Tensor) -> None:
        """Keeps the tensor of one task."""

    @abstractmethod
    def make_own(self) -> None:
        """Copies what was kept last, unless nobody else has its memory, before the next pass.

        In that pass a hook, or a function that hands out the same memory every time, could
        write to what autograd gave in this one.
        """

    @abstractmethod
    def products(
        self, turned: Callable[[Tensor], Tensor] | None = None, *, wide: bool = False
    ) -> list[Block]:
        """``<turned(row_i), row_j>`` for j <= i; in float64 if ``wide``.

        Args:
            turned: From some of the tensors, shape (..., *row), to as many others; default the
                same. They are used up before the next call.
            wide: Whether in float64.

        Returns:
            Blocks that cover the lower triangle of the (K, K) matrix.
        """

    @abstractmethod
    def weighted(
        self, weights: Sequence[float], memory: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """``sum_k weights[k] * row_k``.

        Args:
            weights: K numbers.
            memory: Gives memory for a result like a tensor; default fresh.
        """

    @abstractmethod
    def beside(self, others: Sequence[Kept]) -> Kept:
        """The tensors of each task joined along their last dimension but one with others'."""


class KeptRows(Kept):
    """Each task by itself, as autograd gave it."""

    def __init__(self, dtype: torch.dtype, rows: list[Tensor] | None = None) -> None:
        self._dtype = dtype
        self._rows: list[Tensor] = [] if rows is None else rows

    def put(self, first: int, chunk: Tensor) -> None:
        """Keeps them one by one."""
        for row in chunk:
            self.put_one(first, row)

    def put_one(self, task: int, row: Tensor) -> None:
        """Keeps it without a copy, tasks in their order."""
        if row.dtype != self._dtype:
            row = row.to(self._dtype)
        # Detached, so that whoever else holds the tensor is seen as another owner of the memory.
        self._rows.append(row.contiguous().detach())

    def make_own(self) -> None:
        """Copies the last one unless nobody else has its memory."""
        if not is_sole_owner(self._rows[-1]):
            self._rows[-1] = self._rows[-1].clone()

    def products(
        self, turned: Callable[[Tensor], Tensor] | None = None, *, wide: bool = False
    ) -> list[Block]:
        """A product for each pair."""
        rows = [row.to(torch.float64) for row in self._rows] if wide else self._rows
        return dot_products(rows, turned)

    def weighted(
        self, weights: Sequence[float], memory: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """One after the other."""
        first, *others = self._rows
        total = torch.mul(first, weights[0], out=None if memory is None else memory(first))
        for row, weight in zip(others, weights[1:], strict=True):
            total.add_(row, alpha=weight)
        return total

    def beside(self, others: Sequence[Kept]) -> Kept:
        """Joined task by task."""
        parts = [self._rows]
        for other in others:
            assert isinstance(other, KeptRows)
            parts.append(other._rows)
        return KeptRows(self._dtype, [torch.cat(part, -2) for part in zip(*parts, strict=True)])


class KeptTogether(Kept):
    """All tasks in one buffer, shape (K, ...)."""

    def __init__(self, tasks: int, dtype: torch.dtype, workspace: Workspace, key: Hashable) -> None:
        self._tasks, self._dtype = tasks, dtype
        self._workspace, self._key = workspace, key
        self._all: Tensor | None = None

    @property
    def block(self) -> Tensor:
        """All of them."""
        assert self._all is not None
        return self._all

    def put(self, first: int, chunk: Tensor) -> None:
        """Copies them into the buffer; a chunk of all tasks is the buffer."""
        if chunk.shape[0] == self._tasks:
            self._all = chunk.to(self._dtype).contiguous()
            return
        self._buffer(chunk.shape[1:], chunk.device)[first : first + chunk.shape[0]] = chunk

    def put_one(self, task: int, row: Tensor) -> None:
        """Copies it into the buffer."""
        self._buffer(row.shape, row.device)[task] = row

    def _buffer(self, shape: Sequence[int], device: torch.device) -> Tensor:
        if self._all is None:
            shape = (self._tasks, *shape)
            self._all = self._workspace.take(self._key, shape, self._dtype, device)
        return self._all

    def make_own(self) -> None:
        """Does nothing: the buffer is a copy."""

    def products(
        self, turned: Callable[[Tensor], Tensor] | None = None, *, wide: bool = False
    ) -> list[Block]:
        """Products of matrices."""
        return lower_products(self.block.to(torch.float64) if wide else self.block, turned)

    def weighted(
        self, weights: Sequence[float], memory: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """One product."""
        block = self.block
        vector = torch.tensor(weights, dtype=block.dtype, device=block.device)
        return (vector @ block.reshape(self._tasks, -1)).view(block.shape[1:])

    def beside(self, others: Sequence[Kept]) -> Kept:
        """Joined at once."""
        parts = [self.block]
        for other in others:
            assert isinstance(other, KeptTogether)
            parts.append(other.block)
        found = KeptTogether(self._tasks, self._dtype, self._workspace, self._key)
        found.put(0, torch.cat(parts, -2))
        return found


def keep(tasks: int, dtype: torch.dtype, workspace: Workspace, key: Hashable) -> Kept:
    """What suits a number of tasks.

    Args:
        tasks: Number of tasks K.
        dtype: In which they are kept.
        workspace: Buffers of earlier steps to use again.
        key: Of the buffer.
    """
    return KeptRows(dtype) if tasks <= _FEW else KeptTogether(tasks, dtype, workspace, key)
