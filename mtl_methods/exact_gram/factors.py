"""The Gram matrix, and weighted sums, of K gradients of one parameter from what is kept of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtl_methods.core.products import Block
from mtl_methods.exact_gram.kept import Kept, keep
from mtl_methods.exact_gram.layer import (
    GradientUse,
    LayerUse,
    MatrixUse,
    RowUse,
    Saved,
    as_gradient_use,
    has_many_rows,
)
from mtl_methods.exact_gram.workspace import Workspace

__all__ = ["Factor", "FactorRecipe", "factor_recipe"]


@dataclass(frozen=True, eq=False, slots=True)
class FactorRecipe:
    """What is to be kept of the task gradients of a parameter, in steps that look alike.

    Attributes:
        kind: The class that keeps it.
        parameter: The parameter.
        uses: Its uses as they are computed with, all of one kind, if it goes the exact way; else
            none.
        nodes: The positions of their nodes.
        places: The places of what is kept among what tasks are differentiated by: Δ of each use,
            or the parameter's gradient.
        bias: A bias that is kept with it, as the weight of one more column of A.
    """

    kind: type[Factor]
    parameter: Tensor
    uses: tuple[Any, ...]
    nodes: tuple[int, ...]
    places: tuple[int, ...]
    bias: Tensor | None


class Factor(ABC):
    """K task gradients of one parameter in a form from which they need not be written out.

    Attributes:
        parameter, uses, places: See :class:`FactorRecipe`.
        dtype: The type in which they are kept.
    """

    def __init__(
        self, recipe: FactorRecipe, saved: Sequence[Saved], tasks: int, workspace: Workspace
    ) -> None:
        """Begins a step.

        Args:
            recipe: What is to be kept.
            saved: What the node of each use has saved.
            tasks: Number of tasks K.
            workspace: Memory of earlier steps to use again.
        """
        self.parameter, self.uses = recipe.parameter, recipe.uses
        self.places = recipe.places
        self.dtype = torch.float64 if self.parameter.dtype == torch.float64 else torch.float32
        self._saved, self._tasks, self._workspace = saved, tasks, workspace
        self._kept = self._keep(0)

    def _keep(self, part: int) -> Kept:
        """A place for one tensor of each task."""
        return keep(self._tasks, self.dtype, self._workspace, (id(self.parameter), part))

    def make_own(self) -> None:
        """Copies what was kept last, unless nobody else has its memory, before the next pass."""
        self._kept.make_own()

    @abstractmethod
    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Takes the gradients of the tasks from ``first`` on, shape (c, ...), one per target."""

    def collect_one(self, task: int, gradients: Sequence[Tensor]) -> None:
        """Takes the gradients of one task, one per target."""
        self.collect(task, [gradient.unsqueeze(0) for gradient in gradients])

    @abstractmethod
    def products(self, wide: bool = False) -> list[Block]:
        """The Gram matrix (K, K) of the parameter's task gradients; in float64 if ``wide``.

        Returns:
            Its lower triangle in blocks; what they hold above the diagonal does not count.
        """

    @abstractmethod
    def combine(self, weights: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """Parameters and ``sum_k weights[k] * gradient_k`` in their shapes."""


class _Rows(Factor):
    """A factor that keeps the gradients themselves, as rows."""

    def products(self, wide: bool = False) -> list[Block]:
        """The Gram matrix of the rows."""
        return self._kept.products(wide=wide)

    def combine(self, weights: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """The weighted sum of the rows."""
        return [(self.parameter, self._kept.weighted(weights))]


class LeafFactor(_Rows):
    """The gradients as autograd gives them for the parameter."""

    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Keeps them."""
        self._kept.put(first, gradients[0])

    def collect_one(self, task: int, gradients: Sequence[Tensor]) -> None:
        """Keeps it."""
        self._kept.put_one(task, gradients[0])


class GradientFactor(_Rows):
    """The gradients made from Δ by rules: small parameters."""

    _prepared: Sequence[Any] | None = None

    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Turns Δ into gradients at once."""
        if self._prepared is None:
            pairs = zip(self.uses, self._saved, strict=True)
            self._prepared = [use.prepare(saved, self.dtype) for use, saved in pairs]
        own = [
            use.gradient(prepared, _real(delta, self.dtype))
            for use, prepared, delta in zip(self.uses, self._prepared, gradients, strict=True)
        ]
        self._kept.put(first, sum(own[1:], start=own[0]))


class MatrixFactor(Factor):
    """Δ and the layer's inputs A: ``<g_i, g_j> = <S Δ_i, Δ_j>`` with ``S = A Aᵀ``.

    With R rows, the products cost ``K R² out + K² R out`` where gradients of width ``w`` would
    cost ``K R w out + K² w out``: less as long as R < w. A bias of the same layer is the weight of
    one more column of A, all ones: it adds 1 to S.
    """

    def __init__(
        self, recipe: FactorRecipe, saved: Sequence[Saved], tasks: int, workspace: Workspace
    ) -> None:
        super().__init__(recipe, saved, tasks, workspace)
        self.bias = recipe.bias
        # of each use, until all are joined along their rows
        self._parts = [self._kept, *[self._keep(part) for part in range(1, len(self.uses))]]

    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Keeps Δ as (c, R, out) or (c, groups, R, out)."""
        for kept, use, delta in zip(self._parts, self.uses, gradients, strict=True):
            kept.put(first, use.of_tasks(delta))

    def collect_one(self, task: int, gradients: Sequence[Tensor]) -> None:
        """Keeps Δ as (R, out) or (groups, R, out)."""
        for kept, use, delta in zip(self._parts, self.uses, gradients, strict=True):
            kept.put_one(task, use.of_one(delta))

    def make_own(self) -> None:
        """Of all uses."""
        for kept in self._parts:
            kept.make_own()

    def products(self, wide: bool = False) -> list[Block]:
        """``sum over groups of <S Δ_i, Δ_j>``."""
        self._join()
        inputs = self._inputs()
        if wide:
            inputs = inputs.to(torch.float64)
        similarity = inputs @ inputs.mT
        if self.bias is not None:
            similarity += 1.0

        def turned(rows: Tensor) -> Tensor:
            return torch.matmul(similarity, rows, out=self._workspace.scratch_like(rows))

        return self._kept.products(turned, wide=wide)

    def combine(self, weights: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """One product of the weighted sum of Δ with A."""
        self._join()
        mean = self._kept.weighted(weights, self._workspace.scratch_like)
        combined = []
        if self.bias is not None:  # before the product, which takes the mean out of the cache
            combined.append((self.bias, mean.sum(-2).view(self.bias.shape)))
        inputs, turned = self._inputs(), mean.mT
        memory = self._workspace.gift(
            id(self.parameter), (*turned.shape[:-1], inputs.shape[-1]), self.dtype, inputs.device
        )
        product = torch.matmul(turned, inputs, out=memory)
        combined.append((self.parameter, self.uses[0].folded(product)))
        return combined

    def _inputs(self) -> Tensor:
        parts = [use.inputs(saved) for use, saved in zip(self.uses, self._saved, strict=True)]
        inputs = parts[0] if len(parts) == 1 else torch.cat(parts, -2)
        return inputs if inputs.dtype == self.dtype else inputs.to(self.dtype)

    def _join(self) -> None:
        """Joins what was kept of several uses along rows, once."""
        if len(self._parts) > 1:
            self._kept = self._kept.beside(self._parts[1:])
            self._parts = [self._kept]


class RowFactor(_Rows):
    """Gradients of the rows that were looked up; all others are zero."""

    def __init__(
        self, recipe: FactorRecipe, saved: Sequence[Saved], tasks: int, workspace: Workspace
    ) -> None:
        super().__init__(recipe, saved, tasks, workspace)
        pairs = zip(self.uses, saved, strict=True)
        indices = [use.indices(found) for use, found in pairs]
        self.rows, positions = torch.unique(torch.cat(indices), return_inverse=True)
        self.positions = positions.split([found.numel() for found in indices])
        self.width = self.uses[0].width

    def collect(self, first: int, gradients: Sequence[Tensor]) -> None:
        """Adds up Δ by row."""
        count = gradients[0].shape[0]
        total = gradients[0].new_zeros(count, len(self.rows), self.width, dtype=self.dtype)
        for positions, delta in zip(self.positions, gradients, strict=True):
            rows = delta.reshape(count, -1, self.width).to(self.dtype)
            total.index_add_(1, positions, rows)
        if len(self.rows) and int(self.rows[0]) < 0:
            total[:, 0] = 0.0
        self._kept.put(first, total)

    def combine(self, weights: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """The weighted sum, in a table of zeros."""
        mean = self._kept.weighted(weights)
        table = mean.new_zeros(self.parameter.shape)
        return [(self.parameter, table.index_add_(0, self.rows.clamp(min=0), mean))]


def _real(delta: Tensor, dtype: torch.dtype) -> Tensor:
    """Δ in the type of what is kept; of complex data the part that a real parameter sees."""
    return (delta.real if delta.is_complex() else delta).to(dtype)


def factor_recipe(
    parameter: Tensor,
    uses: Sequence[LayerUse],
    nodes: tuple[int, ...],
    places: tuple[int, ...],
    bias: Tensor | None,
) -> FactorRecipe:
    """The recipe of the factor that suits a parameter's uses, see :class:`FactorRecipe`."""
    matrix = [use for use in uses if isinstance(use, MatrixUse)]
    kind: type[Factor] = LeafFactor
    found: Sequence[LayerUse] = uses
    if matrix and has_many_rows(matrix):
        kind, found = GradientFactor, [as_gradient_use(use) for use in matrix]
    elif matrix:
        kind = MatrixFactor
    elif any(isinstance(use, RowUse) for use in uses):
        kind = RowFactor
    elif any(isinstance(use, GradientUse) for use in uses):
        kind = GradientFactor
    return FactorRecipe(kind, parameter, tuple(found), nodes, places, bias)
