from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from mtl_methods import Method


@dataclass
class Problem:
    """Two parameters, two tasks, other losses on the validation batch; curved in each."""

    theta: Tensor = field(
        default_factory=lambda: torch.tensor([0.7, -0.4], dtype=torch.float64, requires_grad=True)
    )
    tasks: tuple[str, ...] = ("a", "b")
    validation_tasks: tuple[str, ...] = ("a", "b")
    lr: float = 0.3

    def losses(self, parameters: Mapping[str, Tensor], split: str) -> dict[str, Tensor]:
        x, y = parameters["theta"]
        if split == "train":
            every = {"a": (x - 1.0) ** 2 + torch.exp(y), "b": (x * y - 0.5) ** 2 + x.cosh()}
            return {task: every[task] for task in self.tasks}
        every = {"a": (x + y) ** 2 + 0.1, "b": 0.5 * (y - 2.0) ** 2 + x**4}
        return {task: every[task] for task in self.validation_tasks}

    def step(self, method: Method, **options) -> None:
        losses = self.losses({"theta": self.theta}, "train")
        self.theta.grad = None
        for parameter in method.parameters() if method.tasks else []:
            parameter.grad = None
        method.backward(
            losses,
            [self.theta],
            closure=self.losses,
            named_parameters={"theta": self.theta},
            lr=self.lr,
            **options,
        )

    def ahead(self, weights: Tensor, steps: int = 1) -> Tensor:
        """The validation losses after descent, from scratch and without any method."""
        theta = self.theta.detach().clone()
        for _ in range(steps):
            theta.requires_grad_()
            losses = self.losses({"theta": theta}, "train")
            total = sum(w * losses[task] for w, task in zip(weights, self.tasks, strict=True))
            (gradient,) = torch.autograd.grad(total, theta)
            theta = (theta - self.lr * gradient).detach()
        losses = self.losses({"theta": theta}, "validation")
        return torch.stack([losses[task] for task in self.validation_tasks])

    def slopes(self, weights: Tensor, steps: int = 1, reach: float = 1e-5) -> Tensor:
        """Central differences of the validation losses by the weights, shape (tasks, K)."""
        columns = []
        for k in range(len(weights)):
            move = torch.zeros_like(weights)
            move[k] = reach
            ends = self.ahead(weights + move, steps) - self.ahead(weights - move, steps)
            columns.append(ends / (2 * reach))
        return torch.stack(columns, dim=1)


@pytest.fixture
def problem() -> Problem:
    return Problem()
