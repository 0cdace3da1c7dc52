"""Own parameters that reach no optimiser are named once; those that do are left in peace."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from mtl_methods import make_method

MESSAGE = "its parameters did not change"


def train(method, steps, *, fused, with_own=True, batches=1, lr=1e-3, between=None):
    torch.manual_seed(0)
    shared, heads = nn.Linear(3, 4), nn.ModuleDict({"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)})
    method.setup(["a", "b"])
    own = method.parameters() if with_own else []
    parameters = [*shared.parameters(), *heads.parameters(), *own]
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=fused)
    for step in range(steps):
        optimizer.zero_grad()
        for _ in range(batches):
            features = shared(torch.randn(8, 3)).tanh()
            losses = {task: head(features).square().mean() for task, head in heads.items()}
            method.backward(losses, shared.parameters())
        optimizer.step()
        if between is not None:
            between(step)


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.WARNING, logger="mtl_methods")


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["uw", "uw+cagrad", "log+uw"])
def test_no_warning_where_an_optimiser_moves_them(name, fused, caplog):
    train(make_method(name), 4, fused=fused)
    assert MESSAGE not in caplog.text


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["uw", "uw+cagrad", "log+uw"])
def test_one_warning_where_none_does(name, fused, caplog):
    train(make_method(name), 5, fused=fused, with_own=False)
    assert caplog.text.count(MESSAGE) == 1
    assert f"{name}: " in caplog.text


def test_gradients_of_several_batches_may_be_accumulated(caplog):
    train(make_method("uw"), 3, fused=True, batches=3)
    assert MESSAGE not in caplog.text
    train(make_method("uw"), 3, fused=True, batches=3, with_own=False)
    assert caplog.text.count(MESSAGE) == 1


def test_a_restored_state_is_no_step_of_an_optimiser(caplog):
    method, other = make_method("uw"), make_method("uw")
    train(other, 3, fused=True)
    state = other.state_dict()
    train(
        method,
        4,
        fused=True,
        with_own=False,
        between=lambda step: method.load_state_dict(state) if step == 0 else None,
    )
    assert caplog.text.count(MESSAGE) == 1


def test_methods_without_own_parameters_are_not_watched_for_them(caplog):
    train(make_method("ls"), 3, fused=True)
    assert MESSAGE not in caplog.text
