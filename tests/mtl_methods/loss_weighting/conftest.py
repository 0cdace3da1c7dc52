from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from mtl_methods import Method

Step = Callable[..., list[float]]


@pytest.fixture
def step() -> Step:
    """One step on losses of given values; returns the effective weights, checked against .grad."""

    def take(method: Method, values: Sequence[float], tasks: str | None = None) -> list[float]:
        names = "abcdefghijklmnopqrstuvwxyz"[: len(values)] if tasks is None else tasks
        shared = torch.zeros(len(values), dtype=torch.float64, requires_grad=True)
        losses = {
            task: value + shared[k]
            for k, (task, value) in enumerate(zip(names, values, strict=True))
        }
        method.backward(losses, [shared])
        assert method.weights is not None
        assert shared.grad is not None
        weights: list[float] = method.weights.tolist()
        assert shared.grad.tolist() == pytest.approx(weights, rel=1e-9, abs=1e-300)
        return weights

    return take
