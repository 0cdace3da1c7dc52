"""The K task gradients of a step in factored form: their Gram matrix and any weighted sum."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.core.head_gradient import HeadGradient, write_heads
from mtl_methods.core.writing import accumulate, without_autocast
from mtl_methods.errors import ConfigurationError
from mtl_methods.exact_gram.factors import (
    EdgeFactor,
    Factor,
    GradientFactor,
    LeafFactor,
    MatrixFactor,
    RowFactor,
    Workspace,
)
from mtl_methods.exact_gram.layer import (
    BiasUse,
    GradientUse,
    LayerUse,
    MatrixUse,
    RowUse,
    as_gradient_use,
    slots_of,
)
from mtl_methods.exact_gram.plan import ExactUses, GramPlan, make_plan
from mtl_methods.exact_gram.readings import Readings
from mtl_methods.exact_gram.seeds import Seeds, head_pass
from mtl_methods.exact_gram.trunk import Trunk, find_trunk

__all__ = ["FactoredGradients", "PlainGradients", "factored_gradients"]

logger = logging.getLogger("mtl_methods")

Key = tuple[Any, int]

_NOT_BATCHED = (
    "a hook or a function in the trunk fails where the gradients of several tasks travel together; "
    "set gram_path='plain' for this model"
)
_UNDERFLOW = 1e-30  # squared norms below it may have lost float32 digits


class FactoredGradients:
    """K task gradients on the shared parameters, without the (K, m) matrix of them.

    Like the matrix of :class:`~mtl_methods.core.task_gradients.TaskGradients` the Gram matrix is
    that of the unscaled losses; what is written keeps the loss scale.

    Attributes:
        plan: How they are kept.
        rows: Shape (K, 0), in the type of the gradients: there is no matrix.
        heads: The gradient of each task on its own leaves.
    """

    def __init__(
        self,
        losses: Sequence[Tensor],
        trunk: Trunk,
        plan: GramPlan,
        uses: ExactUses,
        workspace: Workspace,
        scale: float,
    ) -> None:
        self.plan = plan
        self._scale = scale
        workspace.reset()
        self._tasks = len(losses)
        self._factors = _factors(trunk.parameters, uses, self._tasks, workspace)
        self._device = trunk.parameters[0].device
        self.rows = torch.empty(self._tasks, 0, dtype=self._factors[0].dtype, device=self._device)
        self.heads: list[HeadGradient] = []
        if plan.tasks_at_once == 1:
            self._one_by_one(losses, trunk)
        else:
            seeds, self.heads = head_pass(losses, trunk, scale)
            self._descend(seeds, trunk, plan.tasks_at_once)

    def gram(self) -> NDArray[np.float64]:
        """The Gram matrix, shape (K, K), symmetric, float64 on the CPU."""
        with torch.no_grad(), without_autocast(self._device.type):
            gram = self._gram(wide=False)
            safe = np.isfinite(gram).all() and (gram.diagonal() > _UNDERFLOW).all()
            if not safe:
                gram = self._gram(wide=True)
        return gram

    def write_weighted(self, weights: NDArray[np.float64]) -> None:
        """Adds ``scale * sum_k weights[k] g_k`` to ``.grad`` of the shared parameters."""
        with torch.no_grad(), without_autocast(self._device.type):
            numbers = weights.tolist()
            for factor in self._factors:
                for parameter, gradient in factor.combine(numbers):
                    accumulate([parameter], [gradient], owned=True)

    def write_heads(self, factors: Sequence[float]) -> None:
        """Adds ``scale * factors[k]`` times task k's gradient to ``.grad`` of its heads, once."""
        heads, self.heads = self.heads, []
        write_heads(heads, factors)

    def _gram(self, wide: bool) -> NDArray[np.float64]:
        blocks = [block for factor in self._factors for block in factor.products(wide)]
        lower: NDArray[np.float64] = np.zeros((self._tasks, self._tasks))
        entries = _read([block for _, _, block in blocks])
        for (row, column, block), found in zip(blocks, entries, strict=True):
            height, width = block.shape or (1, 1)
            lower[row : row + height, column : column + width] += found
        gram = np.where(_lower_triangle(self._tasks), lower, lower.T)
        return gram if self._scale == 1.0 else gram / self._scale**2

    def _wanted(self) -> dict[Key, Any]:
        """What is to be differentiated by: edges of the trunk and parameters."""
        wanted: dict[Key, Any] = {}
        for factor in self._factors:
            if isinstance(factor, EdgeFactor):
                wanted.update({(edge.node, edge.output_nr): edge for edge in factor.edges})
            else:
                wanted[id(factor.parameter), 0] = factor.parameter
        return wanted

    def _one_by_one(self, losses: Sequence[Tensor], trunk: Trunk) -> None:
        """Sends each task down through its head and the trunk, and keeps what factors need."""
        wanted = self._wanted()
        readings = Readings(wanted.values())
        last = max((k for k, loss in enumerate(losses) if loss.requires_grad), default=0)
        with readings:
            for k, (loss, leaves) in enumerate(zip(losses, trunk.private_leaves, strict=True)):
                by_key: dict[Key, Tensor | None] = dict.fromkeys(wanted)
                own: Sequence[Tensor | None] = ()
                if loss.requires_grad:
                    found = torch.autograd.grad(
                        loss,
                        [*wanted.values(), *leaves],
                        None if self._scale == 1.0 else torch.full_like(loss, self._scale),
                        retain_graph=k != last,
                        allow_unused=True,
                    )
                    by_key = dict(zip(wanted, found, strict=False))
                    by_key.update(readings.take(1, batched=False))
                    own = found[len(wanted) :]
                with torch.no_grad():
                    self._collect(k, 1, by_key, batched=False)
                self.heads.append(HeadGradient(leaves, tuple(own)))

    def _descend(self, seeds: Seeds, trunk: Trunk, step: int) -> None:
        """Sends the tasks down the trunk, some at once, and keeps what factors need."""
        wanted = self._wanted()
        arriving = seeds.arriving()
        outputs = [trunk.edges[i] for i in arriving]
        readings = Readings(wanted.values())
        first, end = 0, self._tasks if arriving else 0
        failure: RuntimeError | None = None
        with readings:
            while first < end:
                count = min(step, end - first)
                together = step > 1
                try:
                    found = torch.autograd.grad(
                        outputs,
                        list(wanted.values()),
                        [
                            seeds.of_tasks(i, first, first + count)
                            if together
                            else seeds.of_task(i, first)
                            for i in arriving
                        ],
                        retain_graph=first + count < end,
                        allow_unused=True,
                        is_grads_batched=together,
                    )
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError as error:
                    if failure is not None:
                        raise ConfigurationError(_NOT_BATCHED) from failure
                    if not together:
                        raise
                    # Nothing is lost if it was a hook on the trunk's output that failed.
                    failure, step = error, 1
                    logger.info("tasks cannot travel down the trunk together: %s", error)
                    self.plan = dataclasses.replace(self.plan, tasks_at_once=1)
                    continue
                by_key: dict[Key, Tensor | None] = dict(zip(wanted, found, strict=True))
                by_key.update(readings.take(count, batched=together))
                with torch.no_grad():
                    self._collect(first, count, by_key, together)
                first += count

    def _collect(
        self, first: int, count: int, found: dict[Key, Tensor | None], batched: bool
    ) -> None:
        for factor in self._factors:
            if isinstance(factor, EdgeFactor):
                deltas = []
                for edge in factor.edges:
                    delta = _chunk(found[edge.node, edge.output_nr], batched)
                    if delta is None:
                        metadata: Any = edge.node
                        shape = metadata._input_metadata[edge.output_nr].shape
                        delta = factor.parameter.new_zeros((count, *shape))
                    deltas.append(delta)
                factor.collect(first, deltas)
            elif isinstance(factor, LeafFactor):
                parameter = factor.parameter
                gradient = _chunk(found[id(parameter), 0], batched)
                if gradient is None:
                    gradient = parameter.new_zeros((count, *parameter.shape))
                factor.collect(first, gradient)


def _chunk(gradient: Tensor | None, batched: bool) -> Tensor | None:
    """A gradient of several tasks as it is, or of one as a batch of one."""
    if gradient is None:
        return None
    if gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    return gradient if batched else gradient[None]


def _read(blocks: Sequence[Tensor]) -> Sequence[NDArray[np.float64] | float]:
    """What blocks hold, in one transfer where they are on one device."""
    if len({block.device for block in blocks}) > 1:
        return [block.to("cpu", torch.float64).numpy() for block in blocks]
    if not any(block.dim() for block in blocks):
        read: list[float] = torch.stack(tuple(blocks)).tolist()
        return read
    together = torch.cat([block.reshape(-1) for block in blocks])
    numbers: NDArray[np.float64] = together.to("cpu", torch.float64).numpy()
    found, start = [], 0
    for block in blocks:
        end = start + block.numel()
        found.append(numbers[start:end].reshape(block.shape))
        start = end
    return found


@functools.cache
def _lower_triangle(size: int) -> NDArray[np.bool_]:
    lower: NDArray[np.bool_] = np.tri(size, dtype=bool)
    return lower


def _factors(
    parameters: Sequence[Tensor], uses: ExactUses, tasks: int, workspace: Workspace
) -> list[Factor]:
    """The factors of all parameters; a bias is kept with the weight of its layer where it can."""
    biases = {
        slots_of(known): parameter
        for parameter, known in zip(parameters, uses, strict=True)
        if known and isinstance(known[0], BiasUse)
    }
    factors, joined = [], set()
    for parameter, known in zip(parameters, uses, strict=True):
        factor = _factor(parameter, known, tasks, workspace)
        if isinstance(factor, MatrixFactor):
            bias = biases.get(slots_of(known))
            if bias is not None and bias.numel() == factor.uses[0].groups * factor.uses[0].out:
                factor.bias = bias
                joined.add(id(bias))
        factors.append(factor)
    return [factor for factor in factors if id(factor.parameter) not in joined]


def _factor(
    parameter: Tensor, uses: tuple[LayerUse, ...], tasks: int, workspace: Workspace
) -> Factor:
    matrix = [use for use in uses if isinstance(use, MatrixUse)]
    rows = [use for use in uses if isinstance(use, RowUse)]
    small = [use for use in uses if isinstance(use, GradientUse)]
    if matrix and sum(use.rows for use in matrix) > matrix[0].width:
        small = [as_gradient_use(use) for use in matrix]
    elif matrix:
        return MatrixFactor(parameter, matrix, tasks, workspace)
    if rows:
        return RowFactor(parameter, rows, tasks, workspace)
    if small:
        return GradientFactor(parameter, small, tasks, workspace)
    return LeafFactor(parameter, tasks, workspace)


@dataclass(frozen=True)
class PlainGradients:
    """The verdict that task gradients are better had plainly."""

    plan: GramPlan


def factored_gradients(
    losses: Sequence[Tensor],
    shared: Sequence[Tensor],
    heads: Sequence[Tensor] | None,
    *,
    scale: float = 1.0,
    workspace: Workspace | None = None,
    forced: bool = False,
) -> FactoredGradients | PlainGradients:
    """Task gradients in factored form where that pays.

    Hooks on tensors of the trunk act as on the plain path. Where several tasks travel together
    (``plan.tasks_at_once``) they see these as one batched tensor, as under ``torch.vmap``: what a
    hook, or ``retain_grad()``, stores of it is of no use afterwards.

    Args:
        losses: K scalar losses with their graphs.
        shared: The shared parameters.
        heads: The leaves that count as heads; ``None`` for every other leaf.
        scale: Factor on the losses while they are differentiated (mixed precision).
        workspace: Buffers of earlier steps to use again.
        forced: Whether to take the exact way wherever a rule allows it, whatever it costs.

    Returns:
        The gradients, or the plan that says why they are better had plainly; nothing was
        differentiated then.
    """
    if any(parameter._backward_hooks for parameter in shared):
        return PlainGradients(GramPlan("plain", "a shared parameter has gradient hooks"))
    trunk = find_trunk(losses, shared, heads)
    if isinstance(trunk, str):
        return PlainGradients(GramPlan("plain", trunk))
    plan, uses = make_plan(trunk, len(losses), forced=forced)
    if plan.path == "plain":
        return PlainGradients(plan)
    return FactoredGradients(losses, trunk, plan, uses, workspace or Workspace(), scale)
