"""What is kept of K task gradients of one parameter, and the Gram matrix and sums made of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.core.products import Block, lower_products
from mtl_methods.exact_gram.layer import GradientUse, MatrixUse, RowUse
from mtl_methods.exact_gram.memory import is_sole_owner

__all__ = [
    "Factor",
    "GradientFactor",
    "LeafFactor",
    "MatrixFactor",
    "RowFactor",
    "Workspace",
]

_FEW = 4  # tasks that are kept each by itself: a product for each pair costs less than a buffer


class Workspace:
    """Buffers that live from step to step, since fresh large ones cost more than filling them."""

    def __init__(self) -> None:
        self._free: dict[Hashable, Tensor] = {}
        self._taken: dict[Hashable, Tensor] = {}
        self._scratch: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def reset(self) -> None:
        """Begins a step: buffers of the last one are free, older ones are dropped."""
        self._free, self._taken = self._taken, {}

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

    def scratch(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Memory for a result that is used up before the next call, which hands it out again."""
        size = math.prod(shape)
        memory = self._scratch.get((dtype, device))
        if memory is None or memory.numel() < size:
            memory = self._scratch[dtype, device] = torch.empty(size, dtype=dtype, device=device)
        return memory[:size].view(tuple(shape))


class Factor(ABC):
    """K task gradients of one parameter in a form from which they need not be written out.

    Attributes:
        targets: What tasks are to be differentiated by: the parameter, or the edges where output
            gradients Δ are read.
    """

    def __init__(
        self,
        parameter: Tensor,
        targets: Sequence[Tensor | GradientEdge],
        tasks: int,
        workspace: Workspace,
    ) -> None:
        self.parameter = parameter
        self.targets = tuple(targets)
        self.tasks = tasks
        self.dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        self._workspace = workspace
        self._kept: dict[int, list[Tensor]] = {}

    def _keep(self, part: int, first: int, chunk: Tensor) -> None:
        """Keeps a chunk (c, ...) of tasks: of few tasks by itself, of many in one buffer."""
        if self.tasks <= _FEW or chunk.shape[0] == self.tasks:
            if chunk.dtype != self.dtype:
                chunk = chunk.to(self.dtype)
            # Detached: a view would keep what it was made of, and with it the memory's first owner.
            self._kept.setdefault(part, []).append(chunk.contiguous().detach())
            return
        if part not in self._kept:
            key = (id(self.parameter), part)
            shape = (self.tasks, *chunk.shape[1:])
            self._kept[part] = [self._workspace.take(key, shape, self.dtype, chunk.device)]
        self._kept[part][0][first : first + chunk.shape[0]] = chunk

    def make_own(self) -> None:
        """Copies what was kept last, unless nobody else has its memory, before the next pass.

        In that pass a hook, or a function that hands out the same memory every time, could
        write to what autograd gave in this one.
        """
        if self.tasks > _FEW:
            return  # the buffer is a copy
        for chunks in self._kept.values():
            if not is_sole_owner(chunks[-1]):
                chunks[-1] = chunks[-1].clone()

    @abstractmethod
    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Takes the gradients of the tasks from ``first`` on, shape (c, ...), one per target."""

    @abstractmethod
    def products(self, wide: bool = False) -> list[Block]:
        """The Gram matrix (K, K) of the parameter's task gradients; in float64 if ``wide``.

        Returns:
            Its lower triangle in blocks; what they hold above the diagonal does not count.
        """

    @abstractmethod
    def combine(self, weights: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """Parameters and ``sum_k weights[k] * gradient_k`` in their shapes."""

    def _blocks(self) -> list[Tensor]:
        """What is kept, each block (c, ...) of c tasks."""
        return self._kept[0]

    def _weighted(self, weights: Sequence[float], *, keep: bool = True) -> Tensor:
        """``sum_k weights[k] * kept_k``; in scratch memory unless it is to be kept."""
        blocks = self._blocks()
        if len(blocks) < max(self.tasks, 2):
            block = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
            vector = torch.tensor(weights, dtype=block.dtype, device=block.device)
            return (vector @ block.reshape(block.shape[0], -1)).view(block.shape[1:])
        rows = [block.squeeze(0) for block in blocks]
        largest = max(range(len(rows)), key=lambda k: abs(weights[k]))
        unit = weights[largest] or 1.0
        first, *others = [k for k in range(len(rows)) if k != largest]
        row = rows[largest]
        out = None if keep else self._workspace.scratch(row.shape, row.dtype, row.device)
        total = torch.add(row, rows[first], alpha=weights[first] / unit, out=out)
        for k in others:
            total.add_(rows[k], alpha=weights[k] / unit)
        return total if unit == 1.0 else total.mul_(unit)


class _Rows(Factor):
    """A factor that keeps the gradients themselves, as rows."""

    def products(self, wide: bool = False) -> list[Block]:
        """The Gram matrix of the rows."""
        blocks = self._blocks()
        return lower_products([block.to(torch.float64) for block in blocks] if wide else blocks)

    def combine(self, weights: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """The weighted sum of the rows."""
        return [(self.parameter, self._weighted(weights))]


class LeafFactor(_Rows):
    """The gradients as autograd gives them for the parameter."""

    def __init__(self, parameter: Tensor, tasks: int, workspace: Workspace) -> None:
        super().__init__(parameter, [parameter], tasks, workspace)

    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Keeps them."""
        self._keep(0, first, gradients[0])


class GradientFactor(_Rows):
    """The gradients made from Δ by rules: small parameters."""

    def __init__(
        self, parameter: Tensor, uses: Sequence[GradientUse], tasks: int, workspace: Workspace
    ) -> None:
        super().__init__(parameter, [use.edge for use in uses], tasks, workspace)
        self.uses = uses

    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Turns Δ into gradients at once."""
        own = [
            use.gradient(_real(delta, self.dtype))
            for use, delta in zip(self.uses, gradients, strict=True)
        ]
        self._keep(0, first, sum(own[1:], start=own[0]))


class MatrixFactor(Factor):
    """Δ and the layer's inputs A: ``<g_i, g_j> = <S Δ_i, Δ_j>`` with ``S = A Aᵀ``.

    With R rows, the products cost ``K R² out + K² R out`` where gradients of width ``w`` would
    cost ``K R w out + K² w out``: less as long as R < w. A bias of the same layer is the weight of
    one more column of A, all ones: it adds 1 to S.
    """

    def __init__(
        self,
        parameter: Tensor,
        uses: Sequence[MatrixUse],
        tasks: int,
        workspace: Workspace,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__(parameter, [use.edge for use in uses], tasks, workspace)
        self.uses = uses
        self.bias = bias

    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Keeps Δ as (c, R, out) or (c, groups, R, out)."""
        for part, (use, delta) in enumerate(zip(self.uses, gradients, strict=True)):
            self._keep(part, first, use.outputs(delta))

    def products(self, wide: bool = False) -> list[Block]:
        """``sum over groups of <S Δ_i, Δ_j>``."""
        inputs, blocks = self._inputs(), self._blocks()
        if wide:
            inputs = inputs.to(torch.float64)
            blocks = [block.to(torch.float64) for block in blocks]
        similarity = inputs @ inputs.mT
        if self.bias is not None:
            similarity += 1.0

        def turned(block: Tensor) -> Tensor:
            if block.shape[0] == 1:
                block = block.squeeze(0)
            memory = self._workspace.scratch(block.shape, block.dtype, block.device)
            return torch.matmul(similarity, block, out=memory)

        return lower_products(blocks, turned)

    def combine(self, weights: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """One product of the weighted sum of Δ with A."""
        mean = self._weighted(weights, keep=False)
        combined = []
        if self.bias is not None:  # before the product, which takes the mean out of the cache
            combined.append((self.bias, mean.sum(-2).view(self.bias.shape)))
        product = mean.mT @ self._inputs()
        combined.append((self.parameter, self.uses[0].fold(product)))
        return combined

    def _inputs(self) -> Tensor:
        parts = [use.inputs().to(self.dtype) for use in self.uses]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -2)

    def _blocks(self) -> list[Tensor]:
        """All Δ, each block (c, R, out) or (c, groups, R, out); uses joined along rows, once."""
        if len(self._kept) > 1:
            blocks = zip(*(self._kept[part] for part in sorted(self._kept)), strict=True)
            self._kept = {0: [torch.cat(parts, -2) for parts in blocks]}
        return self._kept[0]


class RowFactor(_Rows):
    """Gradients of the rows that were looked up; all others are zero."""

    def __init__(
        self, parameter: Tensor, uses: Sequence[RowUse], tasks: int, workspace: Workspace
    ) -> None:
        super().__init__(parameter, [use.edge for use in uses], tasks, workspace)
        indices = torch.cat([use.indices for use in uses])
        self.rows, positions = torch.unique(indices, return_inverse=True)
        self.positions = positions.split([use.indices.numel() for use in uses])
        self.width = uses[0].width

    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Adds up Δ by row."""
        count = gradients[0].shape[0]
        total = gradients[0].new_zeros(count, len(self.rows), self.width, dtype=self.dtype)
        for positions, delta in zip(self.positions, gradients, strict=True):
            rows = delta.reshape(count, -1, self.width).to(self.dtype)
            total.index_add_(1, positions, rows)
        if len(self.rows) and int(self.rows[0]) < 0:
            total[:, 0] = 0.0
        self._keep(0, first, total)

    def combine(self, weights: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """The weighted sum, in a table of zeros."""
        mean = self._weighted(weights)
        table = mean.new_zeros(self.parameter.shape)
        return [(self.parameter, table.index_add_(0, self.rows.clamp(min=0), mean))]


def _real(delta: Tensor, dtype: torch.dtype) -> Tensor:
    """Δ in the type of what is kept; of complex data the part that a real parameter sees."""
    return (delta.real if delta.is_complex() else delta).to(dtype)
