from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.optimizers import (
    align_gradients,
    clear_gradients,
    clip_gradients,
    make_optimizer,
    total_norm,
)
from trainables.spec import OPTIMIZERS, TrainingSettings


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_of_any_layout_give_the_same_step(name):
    settings = TrainingSettings.from_dict({"optimizer": name, "lr": 0.1})
    torch.manual_seed(0)
    weight, gradient = torch.randn(6, 5, 3, 3), torch.randn(6, 5, 3, 3)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = nn.Parameter(weight.clone())
        parameter.grad = gradient.clone(memory_format=layout)
        optimizer = make_optimizer(settings, [parameter])
        for _ in range(2):
            align_gradients([parameter])
            optimizer.step()
        results.append(parameter.detach())
    assert torch.equal(*results)


def test_the_methods_parameters_are_a_group_of_their_own():
    settings = TrainingSettings.from_dict({"lr": 0.1, "method_lr": 0.5, "weight_decay": 0.01})
    optimizer = make_optimizer(
        settings, [nn.Parameter(torch.ones(2))], [nn.Parameter(torch.ones(1))]
    )
    model, method = optimizer.param_groups
    assert (model["lr"], model["weight_decay"]) == (0.1, 0.01)
    assert (method["lr"], method["weight_decay"]) == (0.5, 0.0)
    assert len(make_optimizer(settings, [nn.Parameter(torch.ones(2))]).param_groups) == 1


def test_momentum_is_that_of_the_settings():
    settings = TrainingSettings.from_dict({"optimizer": "sgd", "momentum": 0.3})
    optimizer = make_optimizer(settings, [nn.Parameter(torch.ones(2))])
    assert optimizer.param_groups[0]["momentum"] == 0.3


def test_parameters_without_gradient_are_left_alone():
    parameter = nn.Parameter(torch.ones(2))
    assert align_gradients([parameter]) == []
    assert parameter.grad is None
    assert total_norm([]) == 0.0


def test_norm_and_clipping_are_those_of_torch():
    torch.manual_seed(0)
    mine = [nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,), (2, 2, 2))]
    theirs = [nn.Parameter(torch.zeros_like(p)) for p in mine]
    for one, other in zip(mine, theirs, strict=True):
        one.grad = torch.randn_like(one)
        other.grad = one.grad.clone()
    expected = float(nn.utils.clip_grad_norm_(theirs, 0.5))
    gradients = align_gradients(mine)
    norm = total_norm(gradients)
    assert norm == pytest.approx(expected)
    assert clip_gradients(gradients, norm, 0.5) is True
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=0.0)
    assert clip_gradients(gradients, total_norm(gradients), 0.6) is False
    clear_gradients(mine)
    assert all(parameter.grad is None for parameter in mine)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_norm_shows_what_is_not_finite(value):
    gradient = torch.zeros(4)
    gradient[2] = value
    assert not torch.isfinite(torch.tensor(total_norm([torch.ones(2), gradient])))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_counts_as_a_change_of_every_parameter(name):
    model, method = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = make_optimizer(TrainingSettings.from_dict({"optimizer": name}), [model], [method])
    versions = [model._version, method._version]
    model.grad, method.grad = torch.ones(2), torch.ones(3)
    optimizer.step()
    assert model._version > versions[0]
    assert method._version > versions[1]
