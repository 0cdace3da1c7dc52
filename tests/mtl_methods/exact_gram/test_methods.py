"""Gram methods write the same on every path, with everything a step may bring."""

import gc
import weakref

import numpy as np
import pytest
import torch
from checking import Heads, relative_error
from torch import nn

from mtl_methods import make_method
from mtl_methods.errors import NonFiniteGradientError

METHODS = ("mgda", "fairgrad", "cagrad", "imtl_g", "nash_mtl", "upgrad", "pcgrad", "aligned_mtl")
TASKS = ("a", "b", "c")


class Stage:
    def __init__(self, dtype=torch.float32, count=3, batch=4):
        torch.manual_seed(3)
        self.trunk = nn.Sequential(
            nn.Linear(30, 40), nn.ReLU(), nn.LayerNorm(40), nn.Linear(40, 50), nn.Tanh()
        ).to(dtype)
        self.heads = Heads(50, count).to(dtype)
        self.inputs = torch.randn(batch, 30, dtype=dtype)
        self.tasks = tuple("abcdefgh"[:count])

    def losses(self):
        features = self.trunk(self.inputs)
        return features, dict(zip(self.tasks, self.heads.losses(features), strict=True))

    def parameters(self):
        return [*self.trunk.parameters(), *self.heads.parameters()]

    def gradients(self):
        return [None if p.grad is None else p.grad.clone() for p in self.parameters()]

    def clear(self):
        for parameter in self.parameters():
            parameter.grad = None

    def step(self, method, losses=None, **extra):
        self.clear()
        features, fresh = self.losses()
        method.backward(losses or fresh, self.trunk.parameters(), features=features, **extra)
        return self.gradients()


def assert_same(first, second, tolerance=1e-4):
    for one, other in zip(first, second, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert float((one - other).norm()) <= tolerance * float(other.norm()) + 1e-12


def pair(name, **settings):
    methods = []
    for path in ("exact", "plain"):
        method = make_method(name, gram_path=path, **settings)
        method.setup(TASKS)
        method.seed(0)
        methods.append(method)
    return methods


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("heads", ["unit", "same"])
def test_paths_agree(name, heads):
    stage = Stage()
    exact, plain = pair(name, head_weighting=heads)
    for _ in range(2):
        assert_same(stage.step(exact), stage.step(plain))
        assert exact.gram_plan.path == "exact"
        assert plain.gram_plan.path == "plain"
        assert torch.allclose(exact.weights, plain.weights, rtol=1e-4, atol=1e-6)
        assert relative_error(exact.last_step.gram, plain.last_step.gram) < 1e-4


@pytest.mark.parametrize("name", METHODS)
def test_auto_takes_the_exact_path_for_wide_layers_and_small_batches(name):
    stage = Stage()
    auto, plain = make_method(name), pair(name)[1]
    auto.setup(TASKS)
    auto.seed(0)
    assert_same(stage.step(auto), stage.step(plain))
    assert auto.gram_plan.path == "exact"
    assert "exact" in str(auto.gram_plan)


def test_gram_matrix_in_float32_against_float64():
    single, double = Stage(), Stage(torch.float64)
    for own, other in zip(single.parameters(), double.parameters(), strict=True):
        other.data.copy_(own.data)
    double.inputs = single.inputs.double()
    exact, plain = pair("fairgrad")
    single.step(exact)
    double.step(plain)
    assert relative_error(exact.last_step.gram, plain.last_step.gram) < 1e-5


def test_gradients_accumulate():
    stage = Stage()
    exact, plain = pair("cagrad")
    expected = [2.0 * g for g in stage.step(plain)]
    stage.step(exact)
    exact.backward(stage.losses()[1], stage.trunk.parameters())
    assert_same(stage.gradients(), expected)


def test_composition():
    stage = Stage()
    gradients = []
    for path in ("exact", "plain"):
        method = make_method("uw+fairgrad", **{"fairgrad.gram_path": path})
        gradients.append(stage.step(method))
        assert method.gradient.gram_plan.path == path
    assert_same(*gradients)


def test_missing_task():
    stage = Stage()
    written = []
    for method in pair("fairgrad"):
        _, losses = stage.losses()
        del losses["b"]
        written.append(stage.step(method, losses))
    assert_same(*written)


def test_task_without_gradient():
    stage = Stage()
    written = []
    for method in pair("fairgrad"):
        features, losses = stage.losses()
        losses["b"] = stage.heads.layers[1](features.detach()).square().sum()
        written.append(stage.step(method, losses))
        assert method.weights[1] == 0.0
        assert method.counters["zero_gradient"] == 1
    assert_same(*written)


@pytest.mark.parametrize("name", ["edm", "gradvac", "imtl_g", "config"])
@pytest.mark.parametrize("seed", range(12))
def test_sample_gradients_that_cancel(name, seed):
    """The square of a gradient that is nothing but rounding may come out below zero."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(8, 4, dtype=torch.float64, generator=generator)
    inputs = inputs @ torch.randn(4, 512, dtype=torch.float64, generator=generator)
    directions = torch.linalg.svd(inputs)[0][:, 4:]  # orthogonal to all columns of the inputs
    weights = directions @ torch.randn(4, 512, dtype=torch.float64, generator=generator)
    layer = nn.Linear(512, 512, bias=False, dtype=torch.float64)
    outputs = layer(inputs)
    method = make_method(name, gram_path="exact")
    method.backward({"a": (outputs * weights).sum(), "b": outputs.square().sum()}, [layer.weight])
    assert method.last_step.gram.diagonal().min() >= 0.0
    assert layer.weight.grad.isfinite().all()


def test_one_task_takes_the_plain_path():
    stage = Stage(count=1)
    method = make_method("fairgrad", gram_path="exact")
    written = stage.step(method)
    assert method.gram_plan.path == "plain"
    assert all(gradient is not None for gradient in written)


def test_frozen_layer():
    stage = Stage()
    stage.trunk[0].weight.requires_grad_(False)
    exact, plain = pair("fairgrad")
    first, second = stage.step(exact), stage.step(plain)
    assert first[0] is None
    assert_same(first, second)


def test_loss_scale():
    stage = Stage()
    exact, plain = pair("fairgrad")
    assert_same(stage.step(exact, grad_scale=1024.0), stage.step(plain, grad_scale=1024.0))
    unscaled = pair("fairgrad")[0]
    stage.step(unscaled)
    assert torch.allclose(exact.weights, unscaled.weights, rtol=1e-5)


@pytest.mark.parametrize("factor", [1e-24, 1e15])
def test_gradients_whose_squares_leave_float32(factor):
    stage = Stage()
    methods = pair("mgda")
    for method in methods:
        _, losses = stage.losses()
        stage.step(method, {task: factor * loss for task, loss in losses.items()})
    exact, plain = methods
    assert (exact.last_step.gram.diagonal() > 0.0).all()
    assert relative_error(exact.last_step.gram, plain.last_step.gram) < 1e-4
    assert torch.allclose(exact.weights, plain.weights, atol=1e-4)


def test_gradient_that_is_not_finite():
    stage = Stage()
    method = pair("fairgrad")[0]
    features, losses = stage.losses()
    losses["b"] = losses["b"] + (features * 0.0).sum().sqrt()
    with pytest.raises(NonFiniteGradientError, match="b"):
        stage.step(method, losses)
    assert all(gradient is None for gradient in stage.gradients())


def test_overflow_under_loss_scaling_is_written_for_the_scaler():
    stage = Stage()
    method = pair("fairgrad")[0]
    features, losses = stage.losses()
    losses["b"] = losses["b"] + (features * 0.0).sum().sqrt()
    written = stage.step(method, losses, grad_scale=2.0)
    assert not all(bool(g.isfinite().all()) for g in written[: len(list(stage.trunk.parameters()))])


def test_nothing_of_the_graph_is_kept():
    for name, settings in (
        ("fairgrad", {"gram_path": "exact"}),
        ("fairgrad", {"gradients_on": "features"}),
        ("fairgrad", {"gram_path": "plain"}),
    ):
        stage = Stage()
        method = make_method(name, **settings)
        features, losses = stage.losses()
        watched = weakref.ref(features)
        node = features.grad_fn
        method.backward(losses, stage.trunk.parameters(), features=features)
        seen = weakref.ref(next(iter(losses.values())))
        del features, losses, node
        gc.collect()
        assert watched() is None, settings
        assert seen() is None, settings


def test_autocast():
    stage = Stage()
    methods = pair("fairgrad")
    for method in methods:
        stage.clear()
        with torch.autocast("cpu", torch.bfloat16):
            features, losses = stage.losses()
        losses = {task: loss.float() for task, loss in losses.items()}
        method.backward(losses, stage.trunk.parameters(), features=features)
    assert methods[0].gram_plan.path == "exact"
    exact, plain = (method.last_step.gram for method in methods)
    assert relative_error(exact, plain) < 2e-2


@pytest.mark.parametrize("name", METHODS)
def test_features_in_one_pass(name):
    stage = Stage()
    method = make_method(name, gradients_on="features")
    method.setup(TASKS)
    method.seed(0)
    written = stage.step(method)
    features, losses = stage.losses()
    rows = [
        torch.autograd.grad(loss, features, retain_graph=True)[0].reshape(-1)
        for loss in losses.values()
    ]
    matrix = torch.stack(rows)
    assert relative_error(method.last_step.gram, (matrix @ matrix.T).double().numpy()) < 1e-5
    combined = (method.weights @ matrix).view_as(features)
    trunk = list(stage.trunk.parameters())
    expected = torch.autograd.grad(features, trunk, combined, retain_graph=True)
    assert_same(written[: len(trunk)], expected)
    if method.head_weighting == "unit":
        own = list(stage.heads.parameters())
        summed = torch.autograd.grad(sum(losses.values()), own)
        assert_same(written[len(trunk) :], summed)


def test_features_with_a_common_part_of_heads():
    stage = Stage()
    common = nn.Linear(50, 50)
    method = make_method("mgda", gradients_on="features")
    features = stage.trunk(stage.inputs)
    losses = dict(zip(stage.tasks, stage.heads.losses(common(features)), strict=True))
    method.backward(losses, stage.trunk.parameters(), features=features)
    assert common.weight.grad is not None
    assert np.isfinite(method.last_step.gram).all()
