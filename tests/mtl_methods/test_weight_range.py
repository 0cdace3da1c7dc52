"""Weights that the type of the gradients cannot hold are refused, not written as NaN."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_methods import compose, make_method
from mtl_methods.errors import SolverError, TaskError


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


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("name", ["si", "go4align"])
def test_losses_too_small_for_float32_weights(name: str, composed: bool) -> None:
    parameter = nn.Parameter(torch.ones(2))
    losses = {"tiny": 1e-40 * parameter[0], "fair": parameter[1] + 0.0}
    method = compose(make_method(name), make_method("mgda")) if composed else make_method(name)
    with pytest.raises(TaskError, match=r"the weight of task 'tiny' is .*float32.* 1e-40"):
        method.backward(losses, shared=[parameter])
    assert parameter.grad is None


@pytest.mark.parametrize(("name", "heads"), [("ls", 3), ("dwa", 8), ("mgda", 3), ("mgda", 8)])
def test_half_precision_at_a_scalers_first_scale_overflows_as_it_expects(
    name: str, heads: int
) -> None:
    """65,536 is no number of float16: the gradients are not finite, and the scaler goes down."""
    torch.manual_seed(0)
    trunk = nn.Linear(4, 4)
    own = [nn.Linear(4, 1) for _ in range(heads)]
    with torch.autocast("cpu", dtype=torch.float16):
        features = trunk(torch.randn(8, 4))
        losses = {str(k): head(features).abs().mean() for k, head in enumerate(own)}
    assert {loss.dtype for loss in losses.values()} == {torch.float16}
    options = {"gradients_on": "features"} if name == "mgda" else {}
    make_method(name, **options).backward(
        losses, shared=trunk.parameters(), features=features, grad_scale=65536.0
    )
    assert trunk.weight.grad is not None
    assert not torch.isfinite(trunk.weight.grad).all()
