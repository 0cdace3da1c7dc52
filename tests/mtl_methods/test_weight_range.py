"""Weights that the type of the gradients cannot hold are refused, not written as NaN."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.errors import SolverError


@pytest.mark.parametrize("name", ["fairgrad", "pivrg"])
def test_gradients_too_small_for_float32_weights(name: str) -> None:
    torch.manual_seed(0)
    trunk = nn.Linear(5, 3)
    features = trunk(torch.randn(4, 5))
    losses = {f"t{k}": 1e-36 * (features[:, k] ** 2).mean() for k in range(2)}
    method = make_method(name)
    with pytest.raises(SolverError, match=r"the weight of task 't\d' is .*float32"):
        method.backward(losses, shared=trunk.parameters())
    assert all(p.grad is None for p in trunk.parameters())


def test_the_same_gradients_in_float64() -> None:
    torch.manual_seed(0)
    trunk = nn.Linear(5, 3, dtype=torch.float64)
    features = trunk(torch.randn(4, 5, dtype=torch.float64))
    losses = {f"t{k}": 1e-36 * (features[:, k] ** 2).mean() for k in range(2)}
    method = make_method("fairgrad")
    method.backward(losses, shared=trunk.parameters())
    assert method.weights is not None
    assert torch.isfinite(method.weights).all()
