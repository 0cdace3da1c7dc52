"""Gradients on features write in few passes what more passes write, and as carefully."""

import pytest
import torch
from torch import nn

from mtl_methods import compose, make_method
from mtl_methods.errors import NonFiniteGradientError, TaskError
from mtl_methods.exact_gram import linear_heads

METHODS = ("mgda", "fairgrad", "cagrad", "upgrad", "pcgrad", "graddrop", "moco")


HEADS = {
    "bent": lambda: nn.Sequential(nn.Tanh(), nn.Linear(8, 2)),  # in one pass
    "linear": lambda: nn.Linear(8, 2),  # all products together, then the trunk
}
PASSES = {"bent": 1, "linear": 2}


@pytest.fixture(autouse=True)
def _however_few(monkeypatch):
    monkeypatch.setattr(linear_heads, "_FEWEST", 1)


class Stage:
    """A trunk, three heads of two leaves each, and losses of different sizes."""

    def __init__(self, heads="bent"):
        torch.manual_seed(5)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        self.heads = nn.ModuleList(HEADS[heads]() for _ in range(3))
        self.inputs = torch.randn(4, 6)

    def forward(self):
        features = self.trunk(self.inputs)
        losses = {
            f"t{k}": (head(features) - k).square().mean() * 10.0**k
            for k, head in enumerate(self.heads)
        }
        return features, losses

    def leaves(self):
        return [*self.trunk.parameters(), *self.heads.parameters()]

    def gradients(self):
        found = [None if leaf.grad is None else leaf.grad.clone() for leaf in self.leaves()]
        for leaf in self.leaves():
            leaf.grad = None
        return found


def make(name, **settings):
    method = make_method(name, gradients_on="features", **settings)
    method.setup(("t0", "t1", "t2"))
    method.seed(0)
    return method


def passes(monkeypatch, method, stage, *, watched=False, **extra):
    """Gradients of a step, and how often autograd went through a part of the graph."""
    calls = []
    features, losses = stage.forward()
    if watched:  # a hook is to see the combined gradient alone: that takes two passes
        features.register_hook(lambda gradient: None)
    with monkeypatch.context() as patch:
        for name in ("grad", "backward"):
            original = getattr(torch.autograd, name)

            def counted(*args, original=original, **kwargs):
                calls.append(1)
                return original(*args, **kwargs)

            patch.setattr(torch.autograd, name, counted)
        method.backward(losses, stage.trunk.parameters(), features=features, **extra)
    return stage.gradients(), len(calls)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize("kind", HEADS)
def test_few_passes_write_what_more_write(monkeypatch, kind, name, scale):
    stage = Stage(kind)
    one, two = make(name), make(name)
    for _ in range(2):
        whole, single = passes(monkeypatch, one, stage, grad_scale=scale)
        parts, several = passes(monkeypatch, two, stage, watched=True, grad_scale=scale)
        assert (single, several) == (PASSES[kind], 2)
        for a, b in zip(whole, parts, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * scale)
        if one.weights is not None:
            torch.testing.assert_close(one.weights, two.weights, rtol=1e-4, atol=1e-5)
        assert one.last_step.gram == pytest.approx(two.last_step.gram, rel=1e-5)


@pytest.mark.parametrize("loss", [None, "si", "uw"])
@pytest.mark.parametrize("heads", ["unit", "same"])
@pytest.mark.parametrize("kind", HEADS)
def test_heads_get_their_factors(monkeypatch, kind, loss, heads):
    stage = Stage(kind)
    methods = [make("nash_mtl", head_weighting=heads) for _ in range(2)]
    if loss is not None:
        methods = [compose(make_method(loss), method) for method in methods]
    whole, single = passes(monkeypatch, methods[0], stage, grad_scale=8.0)
    parts, several = passes(monkeypatch, methods[1], stage, watched=True, grad_scale=8.0)
    assert (single, several) == (PASSES[kind], 2)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(methods[0].weights, methods[1].weights)


@pytest.mark.parametrize("heads", ["unit", "same"])
@pytest.mark.parametrize("kind", HEADS)
def test_gradients_that_are_there_already_are_added_to(monkeypatch, kind, heads):
    stage = Stage(kind)
    once, _ = passes(monkeypatch, make("nash_mtl", head_weighting=heads), stage)
    for leaf in stage.leaves():
        leaf.grad = torch.ones_like(leaf)
    twice, calls = passes(monkeypatch, make("nash_mtl", head_weighting=heads), stage)
    assert calls == PASSES[kind]
    for a, b in zip(twice, once, strict=True):
        torch.testing.assert_close(a, b + 1.0)


@pytest.mark.parametrize("kind", HEADS)
def test_heads_that_are_not_wanted_get_nothing(monkeypatch, kind):
    stage = Stage(kind)
    all_heads, _ = passes(monkeypatch, make("fairgrad"), stage)
    wanted = stage.heads[1].parameters()
    some, calls = passes(monkeypatch, make("fairgrad"), stage, heads=wanted)
    assert calls == 2
    for a, b in zip(some[:2], all_heads[:2], strict=True):
        torch.testing.assert_close(a, b)
    assert [gradient is None for gradient in some[2:]] == [True, True, False, False, True, True]


@pytest.mark.parametrize("kind", HEADS)
def test_a_weight_that_head_and_trunk_share_gets_both(kind):
    stage = Stage(kind)
    square = nn.Linear(8, 8, bias=False)

    def losses(features, weight):
        first = stage.heads[0](features).square().mean()
        return first, nn.functional.linear(features, weight).square().mean()

    features = square(stage.trunk(stage.inputs))
    method = make_method("fairgrad", gradients_on="features")
    given = dict(zip(("t0", "t1"), losses(features, square.weight), strict=True))
    method.backward(given, [*stage.trunk.parameters(), square.weight], features=features)
    found = square.weight.grad.clone()

    square.weight.grad = None
    features = square(stage.trunk(stage.inputs))
    below = losses(features, square.weight.detach())
    above = losses(features.detach(), square.weight)
    (sum(w * loss for w, loss in zip(method.weights, below, strict=True)) + sum(above)).backward()
    torch.testing.assert_close(found, square.weight.grad)


def test_a_skip_past_the_features_is_right_in_every_batch_of_an_accumulation():
    stage = Stage()

    def step():
        below = stage.trunk[0](stage.inputs)
        features = below.tanh()
        losses = {
            "t0": stage.heads[0](features + below).square().mean(),
            "t1": stage.heads[1](features).square().mean(),
        }
        shared = stage.trunk.parameters()
        make_method("fairgrad", gradients_on="features").backward(losses, shared, features=features)

    step()
    once = [leaf.grad.clone() for leaf in stage.trunk.parameters()]
    step()
    for leaf, gradient in zip(stage.trunk.parameters(), once, strict=True):
        torch.testing.assert_close(leaf.grad, 2.0 * gradient)


@pytest.mark.parametrize("why", ["composition", "two heads", "hook"])
def test_heads_that_reach_past_the_features_are_refused_where_it_takes_two_passes(why):
    stage = Stage()
    below = stage.trunk[0](stage.inputs)
    features = below.tanh()
    losses = {
        "t0": stage.heads[0](features + below).square().mean(),
        "t1": stage.heads[1](features + below if why == "two heads" else features).square().mean(),
    }
    method = make_method("fairgrad", gradients_on="features")
    if why == "composition":
        method = compose(make_method("ls"), method)
    elif why == "hook":
        features.register_hook(lambda gradient: None)
    with pytest.raises(TaskError, match=r"past them .* take gradients_on='parameters'"):
        method.backward(losses, stage.trunk.parameters(), features=features)
    assert not any(g is not None and g.any() for g in stage.gradients())


@pytest.mark.parametrize("kind", HEADS)
def test_parameters_that_move_as_they_get_their_gradient_move_only_if_all_is_well(kind):
    stage = Stage(kind)
    features, losses = stage.forward()
    losses["t1"] = losses["t1"] + (features.sum() * 0.0).sqrt() * 0.0
    before = [leaf.detach().clone() for leaf in stage.leaves()]
    for leaf in stage.heads.parameters():
        leaf.register_post_accumulate_grad_hook(lambda p: p.data.sub_(p.grad))
    with pytest.raises(NonFiniteGradientError, match="t1"):
        make("fairgrad").backward(losses, stage.trunk.parameters(), features=features)
    assert all(torch.equal(a, b) for a, b in zip(before, stage.leaves(), strict=True))


@pytest.mark.parametrize("kind", HEADS)
def test_nothing_is_written_where_a_gradient_is_not_finite(kind):
    stage = Stage(kind)
    known = torch.ones(2, 8)
    weight = [leaf for leaf in stage.heads.parameters() if leaf.dim() == 2][2]
    weight.grad = known
    features, losses = stage.forward()
    losses["t1"] = losses["t1"] + (features.sum() * 0.0).sqrt() * 0.0
    with pytest.raises(NonFiniteGradientError, match="t1"):
        make("fairgrad").backward(losses, stage.trunk.parameters(), features=features)
    assert [leaf for leaf in stage.leaves() if leaf.grad is not None] == [weight]
    assert weight.grad is known
    assert torch.equal(known, torch.ones(2, 8))


@pytest.mark.parametrize("kind", HEADS)
def test_nothing_is_written_where_the_method_refuses(monkeypatch, kind):
    stage = Stage(kind)
    method = make("fairgrad")

    def refuse(*_):
        raise TaskError("no")

    monkeypatch.setattr(method, "combine", refuse)
    features, losses = stage.forward()
    with pytest.raises(TaskError, match="no"):
        method.backward(losses, stage.trunk.parameters(), features=features)
    assert all(gradient is None for gradient in stage.gradients())
    assert not features._backward_hooks


@pytest.mark.parametrize("kind", HEADS)
def test_hooks_on_leaves_and_later_steps_are_as_ever(monkeypatch, kind):
    stage = Stage(kind)
    seen = []
    next(stage.heads[0].parameters()).register_hook(lambda gradient: seen.append(gradient.clone()))
    stage.trunk[0].weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    found, _ = passes(monkeypatch, make("cagrad"), stage)
    assert len(seen) == 2
    assert torch.equal(seen[0], found[2])
    assert torch.equal(seen[1], found[0])


class Silent(torch.autograd.Function):
    """Says nothing about its input."""

    @staticmethod
    def forward(ctx, features):
        return features.sum()

    @staticmethod
    def backward(ctx, gradient):
        return None


def test_losses_that_say_nothing_about_the_features_are_refused():
    stage = Stage()
    features, _ = stage.forward()
    losses = {task: Silent.apply(features) for task in ("t0", "t1", "t2")}
    with pytest.raises(TaskError, match="no loss of the step depends on the features"):
        make("fairgrad").backward(losses, stage.trunk.parameters(), features=features)
    assert all(gradient is None for gradient in stage.gradients())


@pytest.mark.parametrize("shared_layer", [False, True])
def test_features_made_from_one_another(shared_layer):
    """What each head hands to each is told apart, or refused where heads share a layer."""
    torch.manual_seed(0)
    first, second, joint = (nn.Linear(5, 5).double() for _ in range(3))
    heads = nn.ModuleList(nn.Linear(5, 1).double() for _ in range(6))
    lower = torch.tanh(first(torch.randn(7, 5).double()))
    upper = torch.tanh(second(lower))
    seen = torch.tanh(joint(upper)) if shared_layer else upper
    losses = {str(k): (heads[k](lower) + heads[k + 3](seen) - k).square().mean() for k in range(3)}
    shared = [*first.parameters(), *second.parameters()]
    method = make_method("mgda", gradients_on="features")
    if shared_layer:
        with pytest.raises(TaskError, match="made from another one"):
            method.backward(losses, shared, features=[lower, upper])
        assert all(leaf.grad is None for leaf in [*shared, *heads.parameters()])
        return
    rows = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses.values()]
    method.backward(losses, shared, features=[lower, upper])
    for i, parameter in enumerate(shared):
        expected = sum(w * row[i] for w, row in zip(method.weights, rows, strict=True))
        torch.testing.assert_close(parameter.grad, expected)


def test_two_outputs_of_one_node_are_features_apart():
    torch.manual_seed(0)
    trunk, joint = nn.Linear(6, 8), nn.Linear(4, 4)
    halves = trunk(torch.randn(4, 6)).chunk(2, 1)
    common = torch.tanh(joint(halves[1]))
    losses = {str(k): (common + k * halves[0]).square().mean() for k in range(1, 4)}
    method = make_method("mgda", gradients_on="features")
    method.backward(losses, trunk.parameters(), features=halves)
    assert trunk.weight.grad is not None
