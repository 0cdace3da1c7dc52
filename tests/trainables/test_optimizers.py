from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.optimizers import align_gradients, make_optimizer
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
    align_gradients([parameter])
    assert parameter.grad is None
