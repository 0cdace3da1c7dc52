"""The K task gradients of one step, in one buffer, and what is written from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.core.graph import reachable_leaves
from mtl_methods.core.head_gradient import HeadGradient, write_heads
from mtl_methods.core.products import has_kept_digits, lower_product, mirrored
from mtl_methods.core.writing import accumulate, calculating, filled_like
from mtl_methods.errors import TaskError
from mtl_methods.exact_gram import check_apart, feature_gradients, fill_rows

__all__ = ["TaskGradients", "gram_matrix"]


class TaskGradients:
    """Gradients of K losses with respect to shared tensors, as the rows of one (K, m) matrix.

    The matrix is allocated once and reused as long as shapes stay; gradients are copied into its
    rows as they come, so that no second copy of all of them ever exists.

    Attributes:
        rows: The matrix of the last step.
        targets: What its columns belong to.
        used: Which targets any loss reached.
        heads: The gradient of each task on its heads.
    """

    def __init__(self) -> None:
        self._buffer: Tensor | None = None
        self._shapes: tuple[torch.Size, ...] = ()
        self.targets: tuple[Tensor, ...] = ()
        self.used: list[bool] = []
        self.heads: list[HeadGradient] = []
        self.rows = torch.empty(0, 0)

    def compute(
        self,
        losses: Sequence[Tensor],
        targets: Sequence[Tensor],
        heads: Sequence[Tensor] | None,
        *,
        leaves_behind_targets: bool = False,
        retain_graph: bool = False,
        scale: float = 1.0,
    ) -> Tensor:
        """Differentiates each loss once.

        Args:
            losses: K scalar losses.
            targets: What to differentiate by: the shared parameters, or the shared features.
            heads: The leaves that count as heads; ``None`` for all leaves that are no target.
            leaves_behind_targets: Whether the targets are features, with leaves behind them that
                are no heads.
            retain_graph: Whether the graph is needed again afterwards.
            scale: Factor on the losses while they are differentiated, so that half-precision
                gradients do not underflow; the matrix is divided by it, head gradients keep it.

        Returns:
            The gradient matrix, shape (K, m), m the number of elements of all targets.
        """
        self.targets = tuple(targets)
        matrix = self._matrix(len(losses))
        rows = [self._split(row) for row in matrix]
        self.used = [False] * len(self.targets)
        self.heads = []
        position = {id(target): i for i, target in enumerate(self.targets)}
        wanted = None if heads is None else {id(head) for head in heads}
        leaves_of = reachable_leaves(losses, self.targets if leaves_behind_targets else ())
        last = max((k for k, loss in enumerate(losses) if loss.requires_grad), default=0)
        for k, (loss, leaves) in enumerate(zip(losses, leaves_of, strict=True)):
            own = tuple(
                leaf
                for leaf in leaves
                if id(leaf) not in position and (wanted is None or id(leaf) in wanted)
            )
            if not loss.requires_grad:
                matrix[k].zero_()
                self.heads.append(HeadGradient((), ()))
                continue
            reached = (
                list(range(len(self.targets)))
                if leaves_behind_targets
                else [position[id(leaf)] for leaf in leaves if id(leaf) in position]
            )
            inputs = [self.targets[i] for i in reached] + list(own)
            if not inputs:
                matrix[k].zero_()
                self.heads.append(HeadGradient((), ()))
                continue
            gradients = torch.autograd.grad(
                loss,
                inputs,
                None if scale == 1.0 else filled_like(loss, scale),
                retain_graph=retain_graph or k != last,
                allow_unused=True,
            )
            self._fill(rows[k], reached, gradients)
            self.heads.append(HeadGradient(own, gradients[len(reached) :]))
            del gradients  # not to be held while the next task's are made
        if scale != 1.0:
            matrix /= scale
        self.rows = matrix
        return matrix

    def compute_on_features(
        self,
        losses: Sequence[Tensor],
        features: Sequence[Tensor],
        heads: Sequence[Tensor] | None,
        *,
        scale: float = 1.0,
    ) -> Tensor:
        """Differentiates the losses by shared features, all at once where their heads allow it.

        Gradients are what heads hand over: hooks on the features wait for the pass through the
        trunk and act on the combined gradient, once.

        Args:
            losses: K scalar losses.
            features: The shared features.
            heads: The leaves that count as heads; ``None`` for every leaf before the features.
            scale: See :meth:`compute`.

        Returns:
            The gradient matrix, shape (K, m), m the number of elements of all features.
        """
        with _without_hooks(features):
            found = feature_gradients(losses, features, heads, scale=scale)
            if found is None:
                check_apart(features)
                return self.compute(
                    losses, features, heads, leaves_behind_targets=True, scale=scale
                )
        by_feature, heads_found = found
        return self.take(features, by_feature, heads_found, scale=scale)

    def take(
        self,
        features: Sequence[Tensor],
        by_feature: Sequence[Sequence[Tensor | None]],
        heads: list[HeadGradient],
        *,
        scale: float = 1.0,
    ) -> Tensor:
        """Takes gradients on features that are known already.

        Args:
            features: The shared features.
            by_feature: For each of them the gradient of each task, ``None`` for none.
            heads: The gradient of each task on its heads.
            scale: See :meth:`compute`.

        Returns:
            The gradient matrix, shape (K, m), m the number of elements of all features.
        """
        rows = self.memory(features, len(by_feature[0]))
        self.heads = heads
        columns: Sequence[Tensor] = (rows,)
        if len(self.targets) > 1:
            columns = torch.split(rows, [feature.numel() for feature in self.targets], 1)
        self.used = [
            fill_rows(column, gradients)
            for column, gradients in zip(columns, by_feature, strict=True)
        ]
        if scale != 1.0:
            rows /= scale
        return rows

    def memory(self, features: Sequence[Tensor], tasks: int) -> Tensor:
        """Rows to be filled with gradients on features, all of which count as used.

        Args:
            features: The shared features.
            tasks: Number of tasks K.

        Returns:
            :attr:`rows`, shape (K, m), m the number of elements of all features.
        """
        self.targets = tuple(features)
        self.heads, self.used = [], [True] * len(self.targets)
        self.rows = self._matrix(tasks)
        return self.rows

    def gram(self) -> NDArray[np.float64]:
        """The Gram matrix of the rows, see :func:`gram_matrix`."""
        return gram_matrix(self.rows)

    def combine(self, weights: NDArray[np.float64]) -> Tensor:
        """``weights @ rows``, shape (m,)."""
        with calculating(self.rows.device.type):
            vector = torch.tensor(weights, dtype=self.rows.dtype, device=self.rows.device)
            return vector @ self.rows

    def _matrix(self, count: int) -> Tensor:
        if not self.targets:
            raise TaskError("there are no shared parameters that require a gradient")
        for target in self.targets:
            if target.is_complex():
                raise TaskError(
                    f"a tensor of shape {tuple(target.shape)} is complex, but task gradients are "
                    "compared on real ones only; keep the parameter as torch.view_as_real shows it"
                )
        shapes = tuple(target.shape for target in self.targets)
        size = sum(target.numel() for target in self.targets)
        first = self.targets[0]
        dtype = first.dtype if first.dtype in (torch.float32, torch.float64) else torch.float32
        if (
            self._buffer is None
            or self._buffer.shape[1] != size
            or self._buffer.shape[0] < count
            or self._buffer.device != first.device
            or self._buffer.dtype != dtype
        ):
            self._buffer = torch.empty(count, size, dtype=dtype, device=first.device)
        self._shapes = shapes
        return self._buffer if len(self._buffer) == count else self._buffer[:count]

    def _split(self, row: Tensor) -> list[Tensor]:
        parts = torch.split(row, [shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _fill(
        self, row: list[Tensor], reached: list[int], gradients: tuple[Tensor | None, ...]
    ) -> None:
        got = {
            i: gradient if gradient.layout is torch.strided else gradient.to_dense()
            for i, gradient in zip(reached, gradients, strict=False)
            if gradient is not None
        }
        missing = [part for i, part in enumerate(row) if i not in got]
        if missing:
            torch._foreach_zero_(missing)
        for i in got:
            self.used[i] = True
        if got:
            torch._foreach_copy_([row[i] for i in got], list(got.values()))

    def write_shared(self, combined: Tensor, scale: float) -> None:
        """Adds the combined gradient (m,) to ``.grad`` of the targets that any loss reached."""
        parts = self._split(combined)
        accumulate(
            self.targets,
            [part if used else None for part, used in zip(parts, self.used, strict=True)],
            scale,
            owned=True,
        )

    def release(self) -> None:
        """Lets go of everything but the buffer: targets may hold a graph."""
        self.targets, self.used, self.heads = (), [], []

    def split(self, combined: Tensor) -> list[Tensor]:
        """Views of a vector (m,) in the shapes of the targets."""
        return self._split(combined)

    def write_heads(self, factors: Sequence[float]) -> None:
        """Adds ``factors[k]`` times task k's gradient to ``.grad`` of its heads, and forgets it."""
        heads, self.heads = self.heads, []
        write_heads(heads, factors)


@contextmanager
def _without_hooks(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Hooks on the tensors rest: their dictionaries, which autograd looks into, are empty."""
    resting = [(hooks, dict(hooks)) for t in tensors if (hooks := t._backward_hooks)]
    for hooks, _ in resting:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, kept in resting:
            hooks.update(kept)


def gram_matrix(matrix: Tensor) -> NDArray[np.float64]:
    """The Gram matrix of the rows of a matrix.

    Args:
        matrix: Shape (K, m), float32 or float64.

    Returns:
        ``matrix @ matrix.T``, shape (K, K), symmetric, float64 on the CPU. Products are taken in
        the type of the matrix and, where that under- or overflows, in float64.
    """
    with calculating(matrix.device.type):
        gram: NDArray[np.float64] = lower_product(matrix).to("cpu", torch.float64).numpy()
        if matrix.dtype != torch.float64 and not has_kept_digits(gram):
            gram = lower_product(matrix.to(torch.float64)).cpu().numpy()
    return mirrored(gram)
