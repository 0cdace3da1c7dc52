"""A bias is one more column of its layer's inputs, all ones, wherever it belongs to one layer."""

import pytest
import torch
from checking import check, check_trunk
from torch import nn

WITH_WEIGHT = "bias, with its weight"


def reasons(found):
    return {tuple(plan.parameter.shape): plan.reason for plan in found.plan.parameters}


@pytest.mark.parametrize("frozen", [False, True])
def test_it_goes_the_way_of_its_weight(frozen):
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(96, 64), nn.Tanh(), nn.Linear(64, 5)).double()
    trunk[0].weight.requires_grad_(not frozen)
    found = check_trunk(trunk, torch.randn(12, 96).double(), forced=frozen)
    assert (reasons(found)[64,] == WITH_WEIGHT) is not frozen


@pytest.mark.parametrize("groups", [1, 3])
def test_convolution(groups):
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv1d(6, 9, 5, groups=groups), nn.Tanh()).double()
    found = check_trunk(trunk, torch.randn(2, 6, 7).double())
    assert reasons(found)[9,] == WITH_WEIGHT


def test_many_rows_write_gradients_out():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
    check_trunk(trunk, torch.randn(50, 4).double())


class Layers(nn.Module):
    """Two layers that may share their weight or their bias."""

    def __init__(self, one_weight, one_bias):
        super().__init__()
        self.first, self.second = nn.Linear(20, 20), nn.Linear(20, 20)
        if one_weight:
            self.second.weight = self.first.weight
        if one_bias:
            self.second.bias = self.first.bias

    def forward(self, x):
        return self.second(self.first(x).tanh()).tanh()


@pytest.mark.parametrize(
    ("one_weight", "one_bias", "together"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_parameters_of_two_layers(one_weight, one_bias, together):
    torch.manual_seed(0)
    found = check_trunk(Layers(one_weight, one_bias).double(), torch.randn(3, 20).double())
    assert (reasons(found)[20,] == WITH_WEIGHT) is together


def test_bias_of_one_number():
    torch.manual_seed(0)
    weight = torch.randn(30, 20, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(1, dtype=torch.float64, requires_grad=True)
    inputs, targets = torch.randn(4, 20).double(), torch.randn(3, 4, 30).double()

    def losses():
        features = nn.functional.linear(inputs, weight, bias).tanh()
        return [(features - target).square().mean() for target in targets]

    check(losses, [weight, bias], 1e-10)


def test_bias_used_elsewhere_too():
    torch.manual_seed(0)
    layer = nn.Linear(20, 20).double()
    inputs, targets = torch.randn(4, 20).double(), torch.randn(3, 4, 20).double()

    def losses():
        features = layer(inputs).tanh() + layer.bias
        return [(features - target).square().mean() for target in targets]

    found = check(losses, layer.parameters(), 1e-10)
    assert reasons(found)[20,] != WITH_WEIGHT
