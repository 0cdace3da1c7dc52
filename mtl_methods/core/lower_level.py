"""Descent steps on a copy of the parameters, for bilevel methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtl_methods.core.method import Method, StepInputs
from mtl_methods.core.writing import accumulate, filled_like
from mtl_methods.errors import NonFiniteLossError, TaskError

__all__ = ["Closure", "LowerLevel"]

Closure = Callable[[Mapping[str, Tensor], str], Mapping[str, Tensor]]


@dataclass(frozen=True)
class LowerLevel:
    """A model as a function of its parameters, and the step by which it learns.

    Attributes:
        tasks: The K tasks of the training batch.
        closure: ``closure(parameters, split)``: the losses of the training or of a validation
            batch under the given parameters.
        live: The model's trainable parameters by name.
        parameters: Detached leaves of the same values, by name.
        lr: Length of a descent step.
    """

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
            MissingNeedError: If the closure, the named parameters or the learning rate is missing.
        """
        closure = method._require(inputs.extra.get("closure"), "closure=")
        named = method._require(inputs.extra.get("named_parameters"), "named_parameters=")
        rate = lr if lr is not None else method._require(inputs.extra.get("lr"), "lr=")
        live = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
        if not live:
            raise TaskError(f"{method.name}: named_parameters has no trainable parameter")
        leaves = {name: parameter.detach().requires_grad_() for name, parameter in live.items()}
        return cls(inputs.tasks, closure, live, leaves, float(rate))

    def training_losses(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The training losses under some parameters, shape (K,).

        Raises:
            TaskError: If the closure leaves a task of the batch out.
            NonFiniteLossError: If a loss is not finite.
        """
        losses = self.closure(parameters, "train")
        missing = [task for task in self.tasks if task not in losses]
        if missing:
            raise TaskError(f"the closure gives no training loss of task {missing[0]!r}")
        return _stacked({task: losses[task] for task in self.tasks})

    def validation_losses(
        self, parameters: Mapping[str, Tensor], wanted: tuple[str, ...]
    ) -> tuple[tuple[str, ...], Tensor]:
        """The validation losses of the wanted tasks that the batch has.

        Returns:
            Their names and the losses, shape (number of them,).

        Raises:
            NonFiniteLossError: If a loss is not finite.
        """
        losses = self.closure(parameters, "validation")
        there = {task: losses[task] for task in wanted if task in losses}
        if not there:
            return (), torch.zeros(0)
        return tuple(there), _stacked(there)

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
        """
        current = dict(self.parameters if start is None else start)
        for _ in range(steps):
            total = objective(self.training_losses(current))
            gradients = torch.autograd.grad(
                total, list(current.values()), create_graph=differentiable, allow_unused=True
            )
            moved = {}
            for (name, value), gradient in zip(current.items(), gradients, strict=True):
                new = value if gradient is None else value - self.lr * gradient
                moved[name] = new if differentiable else new.detach().requires_grad_()
            current = moved
        return current


def _flat_gradient(
    losses: Sequence[Tensor],
    factors: Sequence[float],
    parameters: Mapping[str, Tensor],
    retain_graph: bool,
) -> Tensor:
    leaves = list(parameters.values())
    roots = [(loss, c) for loss, c in zip(losses, factors, strict=True) if loss.requires_grad]
    found = torch.autograd.grad(
        [loss for loss, _ in roots],
        leaves,
        [filled_like(loss, c) for loss, c in roots],
        retain_graph=retain_graph,
        allow_unused=True,
    )
    parts = [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, found, strict=True)
    ]
    return torch.cat([part.detach().flatten() for part in parts])


def _stacked(losses: Mapping[str, Tensor]) -> Tensor:
    """Scalar losses as one vector, at least in single precision."""
    scalars = [loss.reshape(()) for loss in losses.values()]
    stacked = torch.stack([s.to(torch.promote_types(s.dtype, torch.float32)) for s in scalars])
    finite = torch.isfinite(stacked.detach())
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        raise NonFiniteLossError(list(losses)[row], float(stacked.detach()[row]))
    return stacked
