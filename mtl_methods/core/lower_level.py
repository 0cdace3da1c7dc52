"""Descent steps on a copy of the parameters, for bilevel methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from mtl_methods.core.method import Method, StepInputs
from mtl_methods.core.writing import accumulate, filled_like
from mtl_methods.errors import ConfigurationError, NonFiniteLossError, TaskError

__all__ = ["Closure", "LowerLevel", "dense"]

Closure = Callable[[Mapping[str, Tensor], str], Mapping[str, Tensor]]


@dataclass(frozen=True)
class LowerLevel:
    """A model as a function of its parameters, and the step by which it learns.

    Attributes:
        name: Of the method, for errors.
        tasks: The K tasks of the training batch.
        closure: ``closure(parameters, split)``: the losses of the training or of a validation
            batch under the given parameters.
        live: The model's trainable parameters by name.
        parameters: Detached leaves of the same values, by name.
        lr: Length of a descent step.
    """

    name: str
    tasks: tuple[str, ...]
    closure: Closure
    live: dict[str, Tensor]
    parameters: dict[str, Tensor]
    lr: float

    @classmethod
    def of_step(cls, method: Method, inputs: StepInputs, lr: float | None) -> LowerLevel:
        """What ``backward`` was given for ``Need.VALIDATION_BATCH``.

        Args:
            method: Who needs it.
            inputs: The step.
            lr: A step length of its own; default: the learning rate that ``backward`` was given.

        Raises:
            MissingNeedError: If the learning rate is missing.
            ConfigurationError: If the learning rate is no number.
            TaskError: If no parameter is trainable.
        """
        closure, named = inputs.extra["closure"], inputs.extra["named_parameters"]
        rate = lr if lr is not None else method._require(inputs.extra.get("lr"), "lr=")
        live = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
        if not live:
            raise TaskError(f"{method.name}: named_parameters has no trainable parameter")
        leaves = {name: parameter.detach().requires_grad_() for name, parameter in live.items()}
        return cls(
            method.name, inputs.tasks, closure, live, leaves, _checked_rate(method.name, rate)
        )

    def training_losses(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The training losses under some parameters, shape (K,).

        Raises:
            TaskError: If the closure leaves a task of the batch out, or gives no scalar losses.
            NonFiniteLossError: If a loss is not finite.
        """
        losses = self._evaluated(parameters, "train")
        missing = [task for task in self.tasks if task not in losses]
        if missing:
            raise TaskError(
                f"{self.name}: the closure gives no training loss of task {missing[0]!r}"
            )
        return self._stacked({task: losses[task] for task in self.tasks})

    def validation_losses(
        self, parameters: Mapping[str, Tensor], wanted: tuple[str, ...]
    ) -> tuple[tuple[str, ...], Tensor]:
        """The validation losses of the wanted tasks that the batch has.

        Returns:
            Their names and the losses, shape (number of them,).

        Raises:
            TaskError: If the closure gives no scalar losses.
            NonFiniteLossError: If a loss is not finite.
        """
        losses = self._evaluated(parameters, "validation")
        there = {task: losses[task] for task in wanted if task in losses}
        if not there:
            return (), torch.zeros(0)
        return tuple(there), self._stacked(there)

    def _evaluated(self, parameters: Mapping[str, Tensor], split: str) -> Mapping[str, Tensor]:
        losses = self.closure(parameters, split)
        if not isinstance(losses, Mapping):
            raise TaskError(
                f"{self.name}: the closure must return a mapping from task names to scalar "
                f"losses, got {type(losses).__name__} for the split {split!r}"
            )
        return losses

    def _stacked(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Scalar losses as one vector, at least in single precision."""
        for task, loss in losses.items():
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise TaskError(
                    f"{self.name}: the closure must give the loss of task {task!r} as a scalar "
                    f"tensor, got {got}"
                )
        scalars = [loss.reshape(()) for loss in losses.values()]
        stacked = torch.stack([s.to(torch.promote_types(s.dtype, torch.float32)) for s in scalars])
        finite = torch.isfinite(stacked.detach())
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0])
            raise NonFiniteLossError(list(losses)[row], float(stacked.detach()[row]))
        return stacked

    def refuse_unused(self, split: str) -> NoReturn:
        """Refuses a closure whose losses do not answer to the parameters it is given.

        Raises:
            TaskError: Always.
        """
        raise TaskError(
            f"{self.name}: the {split} losses of the closure do not depend on the parameters that "
            "it is given; evaluate the model with them (mtl_methods.ModelClosure, or "
            "torch.func.functional_call) and with gradients on"
        )

    def gradient(
        self, losses: Sequence[Tensor], factors: Sequence[float], *, retain_graph: bool = False
    ) -> Tensor:
        """The gradient of ``sum_k factors[k] losses[k]`` by :attr:`parameters`, shape (m,)."""
        return _flat_gradient(losses, factors, self.parameters, retain_graph)

    def live_gradient(self, losses: Sequence[Tensor], factors: Sequence[float]) -> Tensor:
        """The gradient of ``sum_k factors[k] losses[k]`` by the model itself, shape (m,)."""
        return _flat_gradient(losses, factors, self.live, retain_graph=False)

    def write(self, inputs: StepInputs, direction: Tensor) -> None:
        """Adds a direction (m,) to ``.grad`` of the shared parameters and heads that it moves.

        Parameters of which the direction is zero throughout are left alone.
        """
        chosen = None
        if inputs.heads is not None:
            chosen = {id(parameter) for parameter in (*inputs.shared, *inputs.heads)}
        start = 0
        for parameter in self.live.values():
            part = direction[start : start + parameter.numel()]
            start += parameter.numel()
            if (chosen is None or id(parameter) in chosen) and bool(part.any()):
                accumulate([parameter], [part.view_as(parameter)], inputs.grad_scale)

    def descend(
        self,
        objective: Callable[[Tensor], Tensor],
        steps: int,
        *,
        start: Mapping[str, Tensor] | None = None,
        differentiable: bool = False,
    ) -> dict[str, Tensor]:
        """Gradient descent on a function of the training losses.

        Args:
            objective: From the training losses, shape (K,), to a scalar.
            steps: Number of steps.
            start: Leaves to start from; default: the current parameters.
            differentiable: Whether the result keeps its graph back to what the objective holds.

        Returns:
            The parameters after it, by name: with graph, or detached leaves.

        Raises:
            TaskError: If the training losses do not depend on the parameters.
        """
        current = dict(self.parameters if start is None else start)
        for _ in range(steps):
            total = objective(self.training_losses(current))
            if not total.requires_grad:
                self.refuse_unused("training")
            gradients = torch.autograd.grad(
                total, list(current.values()), create_graph=differentiable, allow_unused=True
            )
            if all(gradient is None for gradient in gradients):
                self.refuse_unused("training")
            moved = {}
            for (name, value), gradient in zip(current.items(), gradients, strict=True):
                new = value if gradient is None else value - self.lr * dense(gradient)
                moved[name] = new if differentiable else new.detach().requires_grad_()
            current = moved
        return current


def dense(gradient: Tensor) -> Tensor:
    """A gradient as a plain tensor; that of a sparse embedding is not one."""
    return gradient if gradient.layout is torch.strided else gradient.to_dense()


def _flat_gradient(
    losses: Sequence[Tensor],
    factors: Sequence[float],
    parameters: Mapping[str, Tensor],
    retain_graph: bool,
) -> Tensor:
    leaves = list(parameters.values())
    roots = [(loss, c) for loss, c in zip(losses, factors, strict=True) if loss.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if roots:
        found = torch.autograd.grad(
            [loss for loss, _ in roots],
            leaves,
            [filled_like(loss, c) for loss, c in roots],
            retain_graph=retain_graph,
            allow_unused=True,
        )
    parts = [
        torch.zeros_like(leaf) if gradient is None else dense(gradient)
        for leaf, gradient in zip(leaves, found, strict=True)
    ]
    return torch.cat([part.detach().flatten() for part in parts])


def _checked_rate(name: str, given: Any) -> float:
    try:
        rate = float(given)
    except (TypeError, ValueError, RuntimeError):
        rate = math.nan
    if not 0.0 <= rate < math.inf:
        raise ConfigurationError(f"{name}: lr must be a finite number >= 0, got {given!r}")
    return rate
