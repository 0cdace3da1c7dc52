"""What is kept of K task gradients of one parameter, and the Gram matrix and sums made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.core.products import long_product
from mtl_methods.exact_gram.layer import GradientUse, MatrixUse, RowUse

__all__ = [
    "EdgeFactor",
    "Factor",
    "GradientFactor",
    "LeafFactor",
    "MatrixFactor",
    "RowFactor",
    "Workspace",
]

_TASKS = 8  # tasks of a temporary product


class Workspace:
    """Buffers that live from step to step, since fresh large ones cost more than filling them."""

    def __init__(self) -> None:
        self._free: dict[Hashable, Tensor] = {}
        self._taken: dict[Hashable, Tensor] = {}

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


class Factor(ABC):
    """K task gradients of one parameter in a form from which they need not be written out."""

    def __init__(self, parameter: Tensor, tasks: int, workspace: Workspace) -> None:
        self.parameter = parameter
        self.tasks = tasks
        self.dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        self._workspace = workspace
        self._kept: dict[int, Tensor] = {}

    def _keep(self, part: int, first: int, chunk: Tensor) -> None:
        """Keeps a chunk (c, ...) of tasks; without a copy if it holds all."""
        if chunk.shape[0] == self.tasks:
            self._kept[part] = chunk.to(self.dtype).contiguous()
            return
        if part not in self._kept:
            key = (id(self.parameter), part)
            shape = (self.tasks, *chunk.shape[1:])
            self._kept[part] = self._workspace.take(key, shape, self.dtype, chunk.device)
        self._kept[part][first : first + chunk.shape[0]] = chunk

    @abstractmethod
    def gram(self, wide: bool = False) -> Tensor:
        """The Gram matrix (K, K) of the parameter's task gradients; in float64 if ``wide``."""

    @abstractmethod
    def combine(self, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Parameters and ``sum_k weights[k] * gradient_k`` in their shapes."""


class _Rows(Factor):
    """A factor that keeps the gradients themselves, as rows."""

    def gram(self, wide: bool = False) -> Tensor:
        """The Gram matrix of the rows."""
        rows = self._rows()
        return long_product(rows.to(torch.float64) if wide else rows)

    def combine(self, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The weighted sum of the rows."""
        total = weights.to(self.dtype) @ self._rows()
        return [(self.parameter, total.view(self.parameter.shape))]

    def _rows(self) -> Tensor:
        return self._kept[0].reshape(self.tasks, -1)


class LeafFactor(_Rows):
    """The gradients as autograd gives them for the parameter."""

    def collect(self, first: int, gradients: Tensor) -> None:
        """Takes the gradients of the tasks from ``first`` on, shape (c, *parameter.shape)."""
        self._keep(0, first, gradients)


class EdgeFactor(Factor):
    """A factor that is made from output gradients Δ.

    Attributes:
        edges: Where these are read.
    """

    edges: tuple[GradientEdge, ...]

    @abstractmethod
    def collect(self, first: int, deltas: Sequence[Tensor]) -> None:
        """Takes Δ of the tasks from ``first`` on, shape (c, ...), one per edge."""


class GradientFactor(_Rows, EdgeFactor):
    """The gradients made from Δ by rules: small parameters."""

    def __init__(
        self, parameter: Tensor, uses: Sequence[GradientUse], tasks: int, workspace: Workspace
    ) -> None:
        super().__init__(parameter, tasks, workspace)
        self.uses = uses
        self.edges = tuple(use.edge for use in uses)

    def collect(self, first: int, deltas: Sequence[Tensor]) -> None:
        """Turns Δ into gradients at once."""
        gradients = [
            use.gradient(delta.to(self.dtype)) for use, delta in zip(self.uses, deltas, strict=True)
        ]
        self._keep(0, first, sum(gradients[1:], start=gradients[0]))


class MatrixFactor(EdgeFactor):
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
    ) -> None:
        super().__init__(parameter, tasks, workspace)
        self.uses = uses
        self.bias: Tensor | None = None
        self.edges = tuple(use.edge for use in uses)

    def collect(self, first: int, deltas: Sequence[Tensor]) -> None:
        """Keeps Δ as (c, groups, R, out)."""
        for part, (use, delta) in enumerate(zip(self.uses, deltas, strict=True)):
            self._keep(part, first, use.outputs(delta))

    def gram(self, wide: bool = False) -> Tensor:
        """``sum over groups of <S Δ_i, Δ_j>``."""
        dtype = torch.float64 if wide else self.dtype
        inputs, outputs = self._inputs().to(dtype), self._outputs().to(dtype)
        similarity = inputs @ inputs.transpose(1, 2)
        if self.bias is not None:
            similarity += 1.0
        flat = outputs.reshape(self.tasks, -1)
        if self.tasks <= _TASKS:
            return long_product(torch.matmul(similarity, outputs).reshape(self.tasks, -1), flat)
        gram = flat.new_zeros(self.tasks, self.tasks)
        for start in range(0, self.tasks, _TASKS):
            end = min(start + _TASKS, self.tasks)
            turned = torch.matmul(similarity, outputs[start:end]).reshape(end - start, -1)
            gram[start:end, :end] = long_product(turned, flat[:end])
        lower = gram.tril(-1)
        return lower + lower.T + gram.diagonal().diag()

    def combine(self, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
        """One product of the weighted sum of Δ with A."""
        outputs = self._outputs()
        mean = (weights.to(self.dtype) @ outputs.reshape(self.tasks, -1)).view(outputs.shape[1:])
        inputs = self._inputs()
        if len(inputs) == 1:  # not as a batch of one, which is slower
            product = (mean[0].T @ inputs[0])[None]
        else:
            product = mean.transpose(1, 2) @ inputs
        combined = [(self.parameter, self.uses[0].fold(product))]
        if self.bias is not None:
            combined.append((self.bias, mean.sum(1).view(self.bias.shape)))
        return combined

    def _inputs(self) -> Tensor:
        parts = [use.inputs().to(self.dtype) for use in self.uses]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _outputs(self) -> Tensor:
        """All Δ, shape (K, groups, R, out); uses are joined along their rows once."""
        if len(self._kept) > 1:
            self._kept = {0: torch.cat([self._kept[part] for part in sorted(self._kept)], 2)}
        return self._kept[0]


class RowFactor(EdgeFactor):
    """Gradients of the rows that were looked up; all others are zero."""

    def __init__(
        self, parameter: Tensor, uses: Sequence[RowUse], tasks: int, workspace: Workspace
    ) -> None:
        super().__init__(parameter, tasks, workspace)
        self.edges = tuple(use.edge for use in uses)
        indices = torch.cat([use.indices for use in uses])
        self.rows, positions = torch.unique(indices, return_inverse=True)
        self.positions = positions.split([use.indices.numel() for use in uses])
        self.width = uses[0].width

    def collect(self, first: int, deltas: Sequence[Tensor]) -> None:
        """Adds up Δ by row."""
        count = deltas[0].shape[0]
        total = deltas[0].new_zeros(count, len(self.rows), self.width, dtype=self.dtype)
        for positions, delta in zip(self.positions, deltas, strict=True):
            rows = delta.reshape(count, -1, self.width).to(self.dtype)
            total.index_add_(1, positions, rows)
        if len(self.rows) and int(self.rows[0]) < 0:
            total[:, 0] = 0.0
        self._keep(0, first, total)

    def gram(self, wide: bool = False) -> Tensor:
        """The Gram matrix of the rows in use."""
        rows = self._kept[0].reshape(self.tasks, -1)
        return long_product(rows.to(torch.float64) if wide else rows)

    def combine(self, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The weighted sum, in a table of zeros."""
        kept = self._kept[0]
        mean = (weights.to(self.dtype) @ kept.reshape(self.tasks, -1)).view(kept.shape[1:])
        table = mean.new_zeros(self.parameter.shape)
        return [(self.parameter, table.index_add_(0, self.rows.clamp(min=0), mean))]
