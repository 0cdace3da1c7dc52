"""Random trunks: whatever is mixed, Gram matrix and update equal autograd's."""

import torch
from checking import check_trunk
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

WIDTHS = st.sampled_from([3, 8, 20])
ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "gelu": nn.GELU,
    "prelu": nn.PReLU,
    "dropout": lambda: nn.Dropout(0.3),
    "softmax": lambda: nn.Softmax(1),
}


class Residual(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + self.layer(x)


class Repeated(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(self.layer(x).tanh())


@st.composite
def perceptrons(draw):
    width = first = draw(WIDTHS)
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["linear", "residual", "repeated", "norm"]))
        if kind == "linear":
            following = draw(WIDTHS)
            layers.append(nn.Linear(width, following, bias=draw(st.booleans())))
            width = following
        elif kind == "norm":
            norms = [nn.LayerNorm(width), nn.BatchNorm1d(width), nn.RMSNorm(width)]
            layers.append(draw(st.sampled_from(norms)))
        else:
            wrapper = Residual if kind == "residual" else Repeated
            layers.append(wrapper(nn.Linear(width, width)))
        layers.append(ACTIVATIONS[draw(st.sampled_from(list(ACTIVATIONS)))]())
    return nn.Sequential(nn.Linear(first, first), *layers[:-1], nn.Linear(width, 5)), first


@st.composite
def convolutions(draw):
    channels = first = draw(st.sampled_from([2, 4]))
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        following = draw(st.sampled_from([2, 4, 8]))
        groups = draw(st.sampled_from([1, 2]))
        layers.append(
            nn.Conv2d(
                channels,
                following,
                draw(st.sampled_from([1, 2, 3])),
                stride=draw(st.sampled_from([1, 2])),
                padding=draw(st.sampled_from([1, 2])),
                dilation=draw(st.sampled_from([1, 2])),
                groups=groups,
                bias=draw(st.booleans()),
            )
        )
        channels = following
        after = [nn.BatchNorm2d(channels), nn.GroupNorm(2, channels), nn.MaxPool2d(2, padding=1)]
        layers.append(draw(st.sampled_from([*after, nn.Tanh()])))
    return nn.Sequential(*layers, nn.Tanh(), nn.Flatten()), first


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(perceptrons(), st.integers(2, 12), st.integers(2, 7), st.booleans(), st.integers(0, 99))
def test_perceptrons(made, batch, tasks, evaluate, seed):
    torch.manual_seed(seed)
    trunk, width = made
    trunk = trunk.double()
    inputs = torch.randn(batch, width, dtype=torch.float64)
    freeze_randomness(trunk, evaluate)
    check_trunk(trunk, inputs, 1e-9, count=tasks)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(convolutions(), st.integers(1, 3), st.integers(2, 6), st.booleans(), st.integers(0, 99))
def test_convolutions(made, batch, tasks, evaluate, seed):
    torch.manual_seed(seed)
    trunk, channels = made
    trunk = trunk.double()
    inputs = torch.randn(batch, channels, 9, 8, dtype=torch.float64)
    freeze_randomness(trunk, evaluate)
    check_trunk(trunk, inputs, 1e-9, count=tasks)


def freeze_randomness(trunk, evaluate):
    """The same graph for the reference and for us: dropout draws once, norms as told."""
    trunk.train(not evaluate)
    for module in trunk.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
