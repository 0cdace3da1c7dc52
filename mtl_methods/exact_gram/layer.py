"""What a rule knows of one use of a parameter: its gradient from the output gradients Δ.

A use says nothing of one step: it is found once and serves every step whose node reads alike. What
a step brings, the tensors that its node has saved, is handed to it.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mtl_methods.exact_gram.listing import Node

__all__ = [
    "BiasUse",
    "Entrance",
    "GradientUse",
    "LayerUse",
    "MatrixUse",
    "NodeReading",
    "RowUse",
    "Rule",
    "Saved",
    "as_gradient_use",
    "has_many_rows",
    "is_readable",
    "sum_to",
]

Saved = tuple[Tensor, ...]
"""What a node has saved for its backward pass, without a graph, as its rule reads it."""


class NodeReading(NamedTuple):
    """What a rule reads from a node of a step.

    Attributes:
        facts: Everything but the tensors' contents that a use depends on.
        saved: The tensors.
    """

    facts: Hashable
    saved: Saved


class Entrance(NamedTuple):
    """Where and how a parameter enters a node.

    Attributes:
        slot: The position among the node's inputs.
        transposed: Whether it enters transposed.
        shape: The parameter's shape.
    """

    slot: int
    transposed: bool
    shape: torch.Size


@dataclass(eq=False, slots=True)
class LayerUse(ABC):
    """One use of a parameter that a rule covers; Δ is read at the node's first output.

    Attributes:
        kind: The kind of use in a word.
        rule: The rule's name, for reports.
        elements: Number of elements of Δ for one task.
    """

    kind: ClassVar[str]
    rule: str
    elements: int


def _as_saved(saved: Saved, _: torch.dtype) -> Saved:
    return saved


@dataclass(eq=False, slots=True)
class GradientUse(LayerUse):
    """A use whose parameter gradient is small and cheap: biases, scales of norms.

    Attributes:
        gradient: From what was prepared and Δ of c tasks, shape (c, ...), to the gradients, shape
            (c, *parameter.shape).
        prepare: From what the node saved, and the type of Δ, to what is needed for all tasks.
    """

    kind: ClassVar[str] = "gradient"
    gradient: Callable[[Any, Tensor], Tensor]
    prepare: Callable[[Saved, torch.dtype], Any] = _as_saved


@dataclass(eq=False, slots=True)
class BiasUse(GradientUse):
    """A use whose gradient is the sum of Δ over the rows of a :class:`MatrixUse` at the same node.

    It is the weight of one more column of A, all ones.
    """

    kind: ClassVar[str] = "bias"


@dataclass(eq=False, slots=True)
class MatrixUse(LayerUse):
    """A use whose parameter gradient is ``sum over rows of Δ ⊗ A``, in g independent groups.

    The dimension of groups is left out where there is one.

    Attributes:
        rows: Rows R of A and Δ: samples, positions.
        width: Columns of A in a group.
        out: Columns of Δ in a group.
        groups: Number of groups g.
        inputs: Gives A, shape (R, width) or (g, R, width), from what the node saved.
        outputs: From Δ of c tasks as autograd gives it to shape (c, R, out) or (c, g, R, out);
            ``None`` where it comes in that shape.
        fold: From a gradient (out, width) or (g, out, width) to the parameter's shape; ``None``
            where it has that shape.
        layout: Uses of one parameter join along their rows if their layouts are equal.
    """

    kind: ClassVar[str] = "matrix"
    rows: int
    width: int
    out: int
    groups: int
    inputs: Callable[[Saved], Tensor]
    outputs: Callable[[Tensor], Tensor] | None
    fold: Callable[[Tensor], Tensor] | None
    layout: str

    def of_tasks(self, delta: Tensor) -> Tensor:
        """Δ of c tasks, shape (c, R, out) or (c, g, R, out)."""
        return delta if self.outputs is None else self.outputs(delta)

    def of_one(self, delta: Tensor) -> Tensor:
        """Δ of one task, shape (R, out) or (g, R, out)."""
        return delta if self.outputs is None else self.outputs(delta.unsqueeze(0)).squeeze(0)

    def folded(self, gradient: Tensor) -> Tensor:
        """A gradient (out, width) or (g, out, width) in the parameter's shape."""
        return gradient if self.fold is None else self.fold(gradient)


@dataclass(eq=False, slots=True)
class RowUse(LayerUse):
    """A use whose gradient adds rows of Δ to rows of the parameter: embeddings.

    Attributes:
        indices: Row of the parameter for each row of Δ, shape (R,), -1 for rows without gradient,
            from what the node saved.
        width: Columns of the parameter.
    """

    kind: ClassVar[str] = "rows"
    indices: Callable[[Saved], Tensor]
    width: int


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind of node is understood.

    Attributes:
        read: Looks at a node of a step; ``None`` if it cannot be computed with.
        use: From the facts read and how a parameter enters to what is known of this use; ``None``
            if the rule does not cover it.
    """

    read: Callable[[Node], NodeReading | None]
    use: Callable[[Any, Entrance], LayerUse | None]


def is_readable(saved: Tensor) -> bool:
    """Whether rules can compute with what a node has saved: dense and real."""
    return saved.layout is torch.strided and not saved.is_complex()


def has_many_rows(uses: Iterable[LayerUse]) -> bool:
    """Whether a matrix has more rows than columns, so that its gradients are better written out."""
    matrix = [use for use in uses if isinstance(use, MatrixUse)]
    return bool(matrix) and sum(use.rows for use in matrix) > matrix[0].width


def as_gradient_use(use: MatrixUse) -> GradientUse:
    """The gradients of a matrix written out: right for many rows."""

    def prepare(saved: Saved, dtype: torch.dtype) -> Tensor:
        return use.inputs(saved).to(dtype)

    def gradient(inputs: Tensor, delta: Tensor) -> Tensor:
        products = use.of_tasks(delta).transpose(-2, -1) @ inputs
        return torch.stack([use.folded(product) for product in products])

    return GradientUse(use.rule, use.elements, gradient, prepare)


class _Broadcast:
    """Sums what broadcasting repeated."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape

    def __call__(self, delta: Tensor) -> Tensor:
        lead = delta.dim() - 1 - len(self.shape)
        if lead:
            delta = delta.sum(tuple(range(1, 1 + lead)))
        kept = [
            i for i, size in enumerate(self.shape, start=1) if size == 1 and delta.shape[i] != 1
        ]
        return delta.sum(kept, keepdim=True) if kept else delta


def sum_to(shape: torch.Size) -> Callable[[Tensor], Tensor]:
    """From Δ of c tasks (c, ...) to sums of the shape (c, *shape) that was broadcast to it."""
    return _Broadcast(shape)
