"""Every rule is exact: Gram matrix, combined gradient and heads against autograd."""

import pytest
import torch
from checking import check_trunk, ways
from torch import nn

LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (4, 6)),
    "linear, more rows than width": (lambda: nn.Linear(3, 5), (8, 3)),
    "linear without bias": (lambda: nn.Linear(6, 5, bias=False), (4, 6)),
    "linear on sequences": (lambda: nn.Linear(13, 5), (2, 3, 13)),
    "linear on sequences without bias": (lambda: nn.Linear(13, 5, bias=False), (2, 2, 3, 13)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 5)),
    "conv1d, strided": (lambda: nn.Conv1d(4, 6, 3, stride=2, dilation=2), (2, 4, 12)),
    "conv2d, few rows": (lambda: nn.Conv2d(8, 3, 3), (2, 8, 4, 4)),
    "conv2d, many rows": (lambda: nn.Conv2d(2, 3, 3), (3, 2, 8, 8)),
    "conv2d, stride, padding, dilation": (
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2)),
        (2, 4, 7, 6),
    ),
    "conv2d, groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), (1, 4, 4, 4)),
    "conv2d, depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), (1, 4, 4, 4)),
    "conv2d, same, circular": (
        lambda: nn.Conv2d(4, 6, 3, padding="same", padding_mode="circular"),
        (1, 4, 4, 4),
    ),
    "conv3d": (lambda: nn.Conv3d(3, 4, 2), (2, 3, 3, 3, 3)),
    "layer norm": (lambda: nn.LayerNorm(7), (4, 7)),
    "layer norm over two": (lambda: nn.LayerNorm((3, 7)), (4, 2, 3, 7)),
    "layer norm without bias": (lambda: nn.LayerNorm(7, bias=False), (4, 3, 7)),
    "rms norm": (lambda: nn.RMSNorm(7), (4, 7)),
    "batch norm": (lambda: nn.BatchNorm1d(6), (5, 6)),
    "batch norm 2d": (lambda: nn.BatchNorm2d(3), (5, 3, 4, 4)),
    "group norm": (lambda: nn.GroupNorm(2, 6), (3, 6, 4)),
}


def trunk_of(layer, shape):
    """The layer between an elementwise start and a nonlinear end."""
    return nn.Sequential(layer, nn.Tanh())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_layer(name, dtype, tolerance):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    trunk = trunk_of(make(), shape).to(dtype)
    found = check_trunk(trunk, torch.randn(shape, dtype=dtype), tolerance)
    assert set(ways(found)) == {"exact"}


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm1d(6), lambda: nn.BatchNorm2d(3)])
def test_batch_norm_in_evaluation(make):
    torch.manual_seed(0)
    layer = make().double()
    inputs = torch.randn((5, 6) if isinstance(layer, nn.BatchNorm1d) else (5, 3, 2, 2)).double()
    for _ in range(3):
        layer(inputs * 2 + 1)
    trunk = nn.Sequential(layer, nn.Tanh()).eval()
    found = check_trunk(trunk, inputs)
    assert set(ways(found)) == {"exact"}


@pytest.mark.parametrize("padding", [None, 2])
def test_embedding(padding):
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Embedding(9, 5, padding_idx=padding), nn.Tanh()).double()
    indices = torch.tensor([[1, 2, 2, 3], [2, 1, 8, 8]])
    found = check_trunk(trunk, indices)
    assert ways(found) == ["exact"]


def test_embedding_of_tokens_and_positions():
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(11, 6)
            self.positions = nn.Parameter(torch.randn(1, 4, 6))
            self.scale = nn.Parameter(torch.randn(6))
            self.mix = nn.Linear(6, 5)

        def forward(self, indices):
            return self.mix((self.tokens(indices) + self.positions) * self.scale).tanh()

    torch.manual_seed(0)
    found = check_trunk(Embedded().double(), torch.randint(11, (3, 4)))
    assert set(ways(found)) == {"exact"}


def test_attention():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.norm = nn.LayerNorm(8)
            self.wide = nn.Linear(8, 16)
            self.narrow = nn.Linear(16, 8)

        def forward(self, x):
            x = x + self.attention(x, x, x, need_weights=False)[0]
            return x + self.narrow(nn.functional.gelu(self.wide(self.norm(x))))

    torch.manual_seed(0)
    check_trunk(nn.Sequential(Block(), Block()).double(), torch.randn(2, 3, 8).double())


def test_deep_network_travels_together():
    torch.manual_seed(0)
    layers = [nn.Linear(40, 40), nn.ReLU(inplace=True), nn.Linear(40, 40), nn.ReLU(inplace=True)]
    found = check_trunk(
        nn.Sequential(*layers).double(), torch.randn(3, 40).double(), count=6, forced=False
    )
    assert found.plan.path == "exact"
    assert found.plan.tasks_at_once > 1
    assert set(ways(found)) == {"exact"}


def test_tasks_travel_in_several_batches():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 300), nn.Tanh())
    found = check_trunk(
        trunk.double(), torch.randn(40, 300).double(), count=17, forced=False, tolerance=1e-9
    )
    assert 1 < found.plan.tasks_at_once < 17
    assert set(ways(found)) == {"exact"}
