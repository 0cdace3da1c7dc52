"""Gradient hooks in and around the trunk act on both Gram paths alike."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.errors import ConfigurationError
from mtl_methods.exact_gram import recipe as planning

TASKS = 5
HOOKS = {
    "linear": lambda g: 0.1 * g,
    "normed": lambda g: g / g.norm(),
    "clipped": lambda g: g.clamp(-1e-3, 1e-3),
    "data-dependent": lambda g: 0.5 * g if g.norm() > 1e-9 else g,
    "replaced by what all tasks have alike": lambda g: torch.ones(g.shape),
}


def stepped(gram_path, hook, where):
    """A step of a trunk that ends in ``where[-1]``; its weights, plan and gradients."""
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(2))
    heads = nn.ModuleList(nn.Linear(256, 2) for _ in range(TASKS))
    if where == "parameter":
        layers[0].weight.register_hook(hook)
    features = torch.randn(4, 256)
    for place in ("first", "relu", "second", "end relu"):
        if place == "end relu" and where != "end relu":
            break
        features = {"first": layers[0], "second": layers[1]}.get(place, torch.relu)(features)
        if place == where:
            features.register_hook(hook)
    method = make_method("fairgrad", gram_path=gram_path)
    losses = {f"t{k}": head(features).square().mean() * (k + 1.0) for k, head in enumerate(heads)}
    method.backward(losses, layers.parameters())
    gradients = [p.grad for p in (*layers.parameters(), *heads.parameters())]
    return method.weights, method.gram_plan, gradients


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("where", ["parameter", "first", "relu", "second", "end relu"])
def test_hooks_act_alike_on_both_paths(where, name, at_once, monkeypatch):
    if not at_once:
        monkeypatch.setattr(planning, "_BATCHED", frozenset())
    expected, _, gradients = stepped("plain", HOOKS[name], where)
    if at_once and name == "data-dependent" and where in ("first", "relu"):
        with pytest.raises(ConfigurationError, match="gram_path='plain'"):
            stepped("auto", HOOKS[name], where)
        return
    weights, plan, found = stepped("auto", HOOKS[name], where)
    if where == "parameter":
        assert plan.path == "plain"
        assert plan.reason == "a shared parameter has gradient hooks"
    else:
        assert plan.path == "exact"
        assert (plan.tasks_at_once > 1) is (at_once and name != "data-dependent")
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-5)
    for one, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("heads_meet", [True, False])
@pytest.mark.parametrize("method", ["fairgrad", "pcgrad"])
def test_hooks_on_features_act_once_after_the_combination(method, heads_meet):
    """Heads that meet before the features are differentiated one by one, others at once."""

    def found(hook):
        torch.manual_seed(0)
        trunk, meeting = nn.Linear(6, 6), nn.Linear(6, 6)
        heads = nn.ModuleList(nn.Linear(6, 2) for _ in range(3))
        features = trunk(torch.randn(4, 6)).tanh()
        calls = []
        if hook is not None:
            features.register_hook(lambda g: calls.append(g.clone()) or hook(g))
        above = meeting(features) if heads_meet else features
        losses = {f"t{k}": head(above).square().mean() for k, head in enumerate(heads)}
        made = make_method(method, gradients_on="features", head_weighting="unit")
        made.backward(losses, trunk.parameters(), features=features)
        assert len(calls) == (hook is not None)
        own = [head.weight.grad for head in heads]
        return made.last_step.gram, trunk.weight.grad, own

    gram, gradient, own = found(None)
    with_hook, scaled, heads = found(lambda g: 0.1 * g)
    assert with_hook == pytest.approx(gram, rel=1e-5)
    torch.testing.assert_close(scaled, 0.1 * gradient)
    torch.testing.assert_close(heads, own)


def adding():
    """A hook that adds up what it sees, in the memory of the first gradient."""
    seen = []

    def hook(gradient):
        if seen:
            seen[0] += gradient
        else:
            seen.append(gradient)

    return hook


class SameMemory(torch.autograd.Function):
    """The identity; its gradients are handed out in the same memory in every pass."""

    @staticmethod
    def forward(context, x):
        context.memory = torch.empty_like(x)
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return context.memory.copy_(gradient)


@pytest.mark.parametrize("count", [2, 4, 5])
@pytest.mark.parametrize("where", ["hook", "function"])
def test_memory_may_be_written_to_from_task_to_task(count, where, monkeypatch):
    monkeypatch.setattr(planning, "_BATCHED", frozenset())

    def found(gram_path):
        torch.manual_seed(0)
        layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(2))
        heads = nn.ModuleList(nn.Linear(64, 2) for _ in range(count))
        between = layers[0](torch.randn(4, 64))
        if where == "hook":
            between.register_hook(adding())
            between = between.tanh()
        else:
            between = SameMemory.apply(between)
        features = layers[1](between).tanh()
        losses = {f"t{k}": head(features).square().mean() for k, head in enumerate(heads)}
        method = make_method("mgda", gram_path=gram_path)
        method.backward(losses, layers.parameters())
        assert method.gram_plan.path == gram_path
        return method.last_step.gram, method.weights, [p.grad for p in layers.parameters()]

    gram, weights, gradients = found("exact")
    expected_gram, expected_weights, expected = found("plain")
    assert gram == pytest.approx(expected_gram, rel=1e-5)
    torch.testing.assert_close(weights, expected_weights, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(gradients, expected, rtol=1e-3, atol=1e-6)
