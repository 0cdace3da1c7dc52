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
from torch.autograd.graph import GradientEdge

from mtl_methods.core.head_gradient import HeadGradient, write_heads
from mtl_methods.core.products import has_kept_digits, symmetric_sum
from mtl_methods.core.writing import filled_like, give
from mtl_methods.errors import ConfigurationError
from mtl_methods.exact_gram.factors import Factor
from mtl_methods.exact_gram.layout import Layout, lay_out
from mtl_methods.exact_gram.listing import Node, list_graph
from mtl_methods.exact_gram.plan import GramPlan
from mtl_methods.exact_gram.readings import Readings
from mtl_methods.exact_gram.recipe import Recipe, Recipes, read_nodes
from mtl_methods.exact_gram.seeds import Seeds, head_pass
from mtl_methods.exact_gram.trunk import private_leaves, trunk_of
from mtl_methods.exact_gram.workspace import Workspace

__all__ = ["FactoredGradients", "PlainGradients", "factored_gradients"]

logger = logging.getLogger("mtl_methods")

_NOT_BATCHED = (
    "a hook, a function or retain_grad() in the trunk fails where the gradients of several tasks "
    "travel together; set gram_path='plain' for this model"
)


class FactoredGradients:
    """K task gradients on the shared parameters, without the (K, m) matrix of them.

    Like the matrix of :class:`~mtl_methods.core.task_gradients.TaskGradients` the Gram matrix is
    that of the unscaled losses; what is written keeps the loss scale. To be made and used under
    ``torch.no_grad()``, and outside of autocast once it is made.

    Attributes:
        plan: How they are kept.
        rows: Shape (K, 0), in the type of the gradients: there is no matrix.
        heads: The gradient of each task on its own leaves.
    """

    def __init__(
        self,
        losses: Sequence[Tensor],
        nodes: Sequence[Node],
        layout: Layout,
        recipe: Recipe,
        factors: Sequence[Factor],
        scale: float,
    ) -> None:
        self.plan = recipe.plan
        self._scale = scale
        self._tasks = len(losses)
        self._targets: list[Any] = [
            GradientEdge(nodes[target], 0) if isinstance(target, int) else target
            for target in recipe.targets
        ]
        self._factors = factors
        first = factors[0]
        self.rows = _no_columns(self._tasks, first.dtype, first.parameter.device)
        self.heads: list[HeadGradient] = []
        if recipe.plan.tasks_at_once == 1:
            self._one_by_one(losses, private_leaves(nodes, layout))
        else:
            trunk = trunk_of(nodes, layout)
            seeds, self.heads = head_pass(losses, trunk, scale)
            self._descend(seeds, trunk.edges, recipe.plan.tasks_at_once)

    def gram(self) -> NDArray[np.float64]:
        """The Gram matrix, shape (K, K), symmetric, float64 on the CPU."""
        gram = self._gram(wide=False)
        if not has_kept_digits(gram):
            gram = self._gram(wide=True)
            # What is summed up to a gradient may cancel: rounding leaves a square below zero.
            vanished = gram.diagonal() < 0.0
            gram[vanished] = 0.0
            gram[:, vanished] = 0.0
        return gram

    def write_weighted(self, weights: NDArray[np.float64]) -> None:
        """Adds ``scale * sum_k weights[k] g_k`` to ``.grad`` of the shared parameters."""
        numbers = weights.tolist()
        for factor in self._factors:
            for parameter, gradient in factor.combine(numbers):
                give(parameter, gradient)

    def write_heads(self, factors: Sequence[float]) -> None:
        """Adds ``scale * factors[k]`` times task k's gradient to ``.grad`` of its heads, once."""
        heads, self.heads = self.heads, []
        write_heads(heads, factors)

    def _gram(self, wide: bool) -> NDArray[np.float64]:
        blocks = [block for factor in self._factors for block in factor.products(wide)]
        gram = symmetric_sum(blocks, self._tasks)
        return gram if self._scale == 1.0 else gram / self._scale**2

    def _one_by_one(self, losses: Sequence[Tensor], leaves: Sequence[Sequence[Tensor]]) -> None:
        """Sends each task down through its head and the trunk, and keeps what factors need."""
        last = max((k for k, loss in enumerate(losses) if loss.requires_grad), default=0)
        with Readings(self._targets) as readings:
            for k, (loss, own) in enumerate(zip(losses, leaves, strict=True)):
                head = self._send_down(k, loss, own, readings, is_last=k == last)
                self.heads.append(head)
                if k != last:  # after what autograd gave is let go of
                    self._make_own()

    def _send_down(
        self,
        task: int,
        loss: Tensor,
        leaves: Sequence[Tensor],
        readings: Readings,
        *,
        is_last: bool,
    ) -> HeadGradient:
        count = len(self._targets)
        found: Sequence[Tensor | None]
        if not loss.requires_grad:
            found = [None] * (count + len(leaves))
        else:
            found = torch.autograd.grad(
                loss,
                [*self._targets, *leaves],
                None if self._scale == 1.0 else filled_like(loss, self._scale),
                retain_graph=not is_last,
                allow_unused=True,
            )
        read = readings.put_into(found[:count], 1, batched=False)
        gradients = [
            _zeros(self._targets[place]) if gradient is None else _plain(gradient)
            for place, gradient in enumerate(read)
        ]
        for factor in self._factors:
            factor.collect_one(task, [gradients[place] for place in factor.places])
        return HeadGradient(tuple(leaves), tuple(found[count:]))

    def _make_own(self) -> None:
        for factor in self._factors:
            factor.make_own()

    def _descend(self, seeds: Seeds, edges: Sequence[GradientEdge], step: int) -> None:
        """Sends the tasks down the trunk, some at once, and keeps what factors need."""
        arriving = seeds.arriving()
        outputs = [edges[i] for i in arriving]
        first, end = 0, self._tasks if arriving else 0
        failure: RuntimeError | None = None
        with Readings(self._targets) as readings:
            while first < end:
                count = min(step, end - first)
                together = step > 1
                try:
                    found = torch.autograd.grad(
                        outputs,
                        self._targets,
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
                read = readings.put_into(found, count, batched=together)
                self._collect(first, count, read, together)
                first += count
                if first < end:
                    del found, read
                    self._make_own()

    def _collect(
        self, first: int, count: int, found: Sequence[Tensor | None], batched: bool
    ) -> None:
        """Gives factors the gradients of some tasks: batched, or of one task as they are."""
        gradients = []
        for target, gradient in zip(self._targets, found, strict=True):
            if gradient is None:
                gradients.append(_zeros(target, count))
                continue
            gradient = _plain(gradient)
            gradients.append(gradient if batched else gradient.unsqueeze(0))
        for factor in self._factors:
            factor.collect(first, [gradients[place] for place in factor.places])


@functools.cache
def _no_columns(tasks: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.empty(tasks, 0, dtype=dtype, device=device)


def _plain(gradient: Tensor) -> Tensor:
    """A gradient as autograd gave it, dense and without a graph."""
    if gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    return gradient.detach() if gradient.requires_grad else gradient


def _zeros(target: Any, *count: int) -> Tensor:
    """What a task, or several, sends to a target that it does not reach."""
    if isinstance(target, Tensor):
        return target.new_zeros((*count, *target.shape))
    node: Any = target.node
    metadata = node._input_metadata[target.output_nr]
    return torch.zeros((*count, *metadata.shape), dtype=metadata.dtype, device=metadata.device)


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
    recipes: Recipes | None = None,
    forced: bool = False,
) -> FactoredGradients | PlainGradients:
    """Task gradients in factored form where that pays.

    Hooks on tensors of the trunk act as on the plain path; those on its nodes may escape. Where
    several tasks travel together (``plan.tasks_at_once``) hooks see these as one batched tensor, as
    under ``torch.vmap``: what a hook, or ``retain_grad()``, stores of it is of no use afterwards.

    Args:
        losses: K scalar losses with their graphs.
        shared: The shared parameters.
        heads: The leaves that count as heads; ``None`` for every other leaf.
        scale: Factor on the losses while they are differentiated (mixed precision).
        workspace: Buffers of earlier steps to use again.
        recipes: What is known of earlier steps that looked alike.
        forced: Whether to take the exact way wherever a rule allows it, whatever it costs.

    Returns:
        The gradients, or the plan that says why they are better had plainly; nothing was
        differentiated then.
    """
    for parameter in shared:
        if parameter._backward_hooks:
            return PlainGradients(GramPlan("plain", "a shared parameter has gradient hooks"))
        if parameter.is_complex():
            return PlainGradients(GramPlan("plain", "a shared parameter is complex"))
    parameters = list({id(parameter): parameter for parameter in shared}.values())
    nodes, structure = list_graph(losses, parameters, heads, ())
    layout = lay_out(structure)
    if isinstance(layout, str):
        return PlainGradients(GramPlan("plain", layout))
    readings = read_nodes(nodes, layout)
    known = recipes or Recipes()
    recipe = known.recipe(layout, readings, parameters, len(losses), forced=forced)
    if recipe.plan.path == "plain":
        return PlainGradients(recipe.plan)
    factors = recipe.begin(readings, len(losses), workspace or Workspace())
    del readings  # saving hooks may have made copies: most are not needed
    return FactoredGradients(losses, nodes, layout, recipe, factors, scale)
