"""What is written to ``.grad`` fits its parameter, element by element in memory too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.core.writing import accumulate, accumulate_weighted

CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last


def values(layout, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 2, 2, generator=generator).to(memory_format=layout)


@pytest.mark.parametrize("of_parameter", [CONTIGUOUS, CHANNELS_LAST])
@pytest.mark.parametrize("of_gradient", [CONTIGUOUS, CHANNELS_LAST])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_fresh_gradient_has_the_layout_of_its_parameter(of_parameter, of_gradient, dtype, factor):
    given = values(of_gradient).to(dtype)
    kept = given.clone()
    for write in (
        lambda p: accumulate([p], [given], factor),
        lambda p: accumulate([p], [given.clone()], factor, owned=True),
        lambda p: accumulate_weighted([p], [given.clone()], [factor]),
    ):
        parameter = values(of_parameter, 1).requires_grad_()
        write(parameter)
        assert parameter.grad.stride() == parameter.stride()
        assert parameter.grad.dtype == parameter.dtype
        assert torch.equal(parameter.grad, (factor * kept).to(parameter.dtype))
        write(parameter)
        torch.testing.assert_close(parameter.grad, (2.0 * factor * kept).to(parameter.dtype))
        assert parameter.grad.stride() == parameter.stride()
    assert torch.equal(given, kept)


def test_what_is_not_owned_is_copied_and_what_is_owned_is_not():
    gradient = values(CONTIGUOUS)
    one, two = (values(CONTIGUOUS, seed).requires_grad_() for seed in (1, 2))
    accumulate([one], [gradient])
    assert one.grad.data_ptr() != gradient.data_ptr()
    accumulate([two], [gradient], owned=True)
    assert two.grad.data_ptr() == gradient.data_ptr()


def test_expanded_and_sparse_gradients():
    parameter = torch.zeros(3, 4, requires_grad=True)
    accumulate([parameter], [torch.ones(1, 1).expand(3, 4)], owned=True)
    parameter.grad[0, 0] = 5.0
    assert parameter.grad.sum() == 16.0
    table = nn.Embedding(5, 2, sparse=True)
    (gradient,) = torch.autograd.grad(table(torch.tensor([1, 1])).sum(), [table.weight])
    accumulate([table.weight], [gradient], 0.5)
    assert table.weight.grad.is_sparse
    assert table.weight.grad.to_dense()[1].tolist() == [1.0, 1.0]


def test_head_gradients_that_share_memory_are_kept_apart():
    torch.manual_seed(0)
    p, a, b, c = (torch.randn(n, requires_grad=True) for n in (4, 4, 2, 2))

    def step():
        losses = {
            "one": ((torch.cat([b, c]) + a) * p).sum() ** 2,
            "two": (p**2).sum(),
        }
        make_method("fairgrad").backward(losses, [p])

    step()
    once = [leaf.grad.clone() for leaf in (a, b, c)]
    step()
    for leaf, gradient in zip((a, b, c), once, strict=True):
        torch.testing.assert_close(leaf.grad, 2.0 * gradient)


@pytest.mark.parametrize("gram_path", ["plain", "exact"])
def test_a_gradient_that_a_function_keeps_is_left_to_it(gram_path):
    kept = torch.full((3,), 7.0)

    class Constant(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, head):
            return x.sum() + head.sum()

        @staticmethod
        def backward(ctx, gradient):
            return gradient.expand(3), kept

    layer, head = nn.Linear(3, 3), torch.zeros(3, requires_grad=True)
    features = layer(torch.ones(3))
    losses = {"one": Constant.apply(features, head), "two": features.square().sum()}
    make_method("fairgrad", gram_path=gram_path).backward(losses, layer.parameters())
    assert head.grad.tolist() == [7.0] * 3
    head.grad.mul_(0.0)
    assert kept.tolist() == [7.0] * 3


class Dense(nn.Module):
    """Convolutions all the way, as for dense prediction."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.heads = nn.ModuleDict(
            {"depth": nn.Conv2d(8, 4, 3), "normals": nn.Sequential(nn.Conv2d(8, 6, 2))}
        )

    def forward(self, image):
        features = self.shared(image)
        return features, {task: head(features) for task, head in self.heads.items()}


def dense_losses(model, step):
    generator = torch.Generator().manual_seed(step)
    image = torch.randn(4, 3, 12, 12, generator=generator).to(memory_format=CHANNELS_LAST)
    features, outputs = model(image)
    return features, {
        task: (output - step - position).square().mean()
        for position, (task, output) in enumerate(outputs.items())
    }


def trained(name, hyperparameters, layout, *, fused, layouts):
    torch.manual_seed(0)
    model = Dense().to(memory_format=layout)
    method = make_method(name, **hyperparameters)
    method.setup(list(model.heads), feature_dim=8)
    method.seed(0)
    own = method.parameters()
    optimizer = torch.optim.Adam([*model.parameters(), *own], lr=1e-2, fused=fused)
    for step in range(3):
        features, losses = dense_losses(model, step)
        optimizer.zero_grad()
        method.backward(losses, model.shared.parameters(), features=features)
        for parameter in model.parameters():
            layouts.append(parameter.grad.stride() == parameter.stride())
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in (*model.parameters(), *own)])


def test_convolutions_under_channels_last_give_gradients_of_another_layout():
    """Otherwise the next test would show nothing."""
    model = Dense()
    _, losses = dense_losses(model, 0)
    weight = model.heads["depth"].weight
    (gradient,) = torch.autograd.grad(losses["depth"], [weight])
    assert gradient.stride() != weight.stride()


@pytest.mark.parametrize("layout", [CONTIGUOUS, CHANNELS_LAST])
@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [
        ("ls", {}),
        ("uw", {}),
        ("cagrad", {}),
        ("cagrad", {"head_weighting": "same"}),
        ("fairgrad", {}),
        ("pcgrad", {}),
        ("mgda", {"gradients_on": "features"}),
        ("log+uw+cagrad", {}),
    ],
)
def test_fused_optimisers_do_what_others_do(name, hyperparameters, layout):
    layouts = []
    fused, plain = (
        trained(name, hyperparameters, layout, fused=fused, layouts=layouts)
        for fused in (True, False)
    )
    assert all(layouts)
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
