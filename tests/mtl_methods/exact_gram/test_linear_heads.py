"""Heads that begin with a linear layer get, all at once, what autograd gives one by one."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mtl_methods import make_method
from mtl_methods.exact_gram import linear_heads

FEWEST = linear_heads._FEWEST


class OwnMatrix(nn.Module):
    """A layer that keeps its weight as (in, out)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3))

    def forward(self, features):
        return features @ self.weight


class Checkpointed(nn.Linear):
    """A layer that is computed again in the backward pass."""

    def forward(self, features):
        return checkpoint(super().forward, features, use_reentrant=False)


class Scaled(nn.Module):
    """``2 b + 3 z W``: factors that a linear layer does not have."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 3)), nn.Parameter(torch.randn(3))

    def forward(self, features):
        return torch.addmm(self.bias, features, self.weight, beta=2, alpha=3)


class WithPenalty(nn.Linear):
    """A layer whose weight is used twice."""

    def forward(self, features):
        return super().forward(features) * (1.0 + self.weight.square().mean())


class TwoWays(nn.Linear):
    """A head that reads the features twice."""

    def forward(self, features):
        return super().forward(features) + features.mean()


def frozen(layer, *names):
    for name in names:
        getattr(layer, name).requires_grad_(False)
    return layer


def hooked(layer):
    layer.weight.register_hook(lambda gradient: 0.5 * gradient)
    return layer


TOGETHER = {
    "linear": lambda: nn.Linear(8, 3),
    "no bias": lambda: nn.Linear(8, 3, bias=False),
    "own matrix": OwnMatrix,
    "deep": lambda: nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)),
    "checkpointed": lambda: Checkpointed(8, 3),
    "frozen weight": lambda: frozen(nn.Linear(8, 3), "weight"),
    "frozen bias": lambda: frozen(nn.Linear(8, 3), "bias"),
    "frozen": lambda: frozen(nn.Linear(8, 3), "weight", "bias"),
}
ONE_BY_ONE = {
    "scaled": Scaled,
    "penalty": lambda: WithPenalty(8, 3),
    "two ways": lambda: TwoWays(8, 3),
    "hook": lambda: hooked(nn.Linear(8, 3)),
    "bent": lambda: nn.Sequential(nn.Tanh(), nn.Linear(8, 3)),
}
MIXED = {
    "sizes": [lambda: nn.Linear(8, 3), lambda: nn.Linear(8, 1), lambda: nn.Linear(8, 3)],
    "kinds": [TOGETHER["deep"], TOGETHER["own matrix"], TOGETHER["frozen weight"]],
}


class Stage:
    def __init__(self, makers, dtype=torch.float32):
        torch.manual_seed(3)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh()).to(dtype)
        self.heads = nn.ModuleList(make() for make in makers).to(dtype)
        self.inputs = torch.randn(5, 6, dtype=dtype)

    def losses(self):
        features = self.trunk(self.inputs)
        return features, {
            f"t{k}": (head(features) - k).square().mean() for k, head in enumerate(self.heads)
        }

    def expected(self, weights, heads=None):
        """What each leaf is to get, by one pass for each loss."""
        features, losses = self.losses()
        leaves = [leaf for leaf in self.heads.parameters() if leaf.requires_grad]
        found = {leaf: torch.zeros_like(leaf) for leaf in leaves}
        combined = torch.zeros_like(features)
        heads = [1.0] * len(losses) if heads is None else heads
        for weight, factor, loss in zip(weights, heads, losses.values(), strict=True):
            own, *gradients = torch.autograd.grad(
                loss, [features, *leaves], retain_graph=True, allow_unused=True
            )
            if own is not None:
                combined += weight * own
            for leaf, gradient in zip(leaves, gradients, strict=True):
                if gradient is not None:
                    found[leaf] += factor * gradient
        shared = list(self.trunk.parameters())
        found.update(zip(shared, torch.autograd.grad(features, shared, combined), strict=True))
        return found


@pytest.fixture(autouse=True)
def _however_few(monkeypatch):
    monkeypatch.setattr(linear_heads, "_FEWEST", 1)


@pytest.fixture
def filled(monkeypatch):
    """How many times all heads were passed through at once."""
    times = []
    original = linear_heads.LinearHeads.differentiate

    def counted(self, *args):
        times.append(1)
        return original(self, *args)

    monkeypatch.setattr(linear_heads.LinearHeads, "differentiate", counted)
    return times


def check(stage, *, head_weighting="unit", name="fairgrad", **extra):
    method = make_method(name, gradients_on="features", head_weighting=head_weighting)
    features, losses = stage.losses()
    method.backward(losses, stage.trunk.parameters(), features=features, **extra)
    weights = method.weights.tolist()
    scale = extra.get("grad_scale", 1.0)
    heads = weights if head_weighting == "same" else None
    for leaf, gradient in stage.expected(weights, heads).items():
        if leaf.grad is None:
            assert not gradient.any()
            continue
        torch.testing.assert_close(leaf.grad, scale * gradient, rtol=1e-4, atol=1e-5 * scale)
        assert leaf.grad.stride() == leaf.stride()


@pytest.mark.parametrize("head_weighting", ["unit", "same"])
@pytest.mark.parametrize("kind", [*TOGETHER, *MIXED])
def test_products_are_taken_together(kind, head_weighting, filled):
    check(Stage(MIXED.get(kind) or [TOGETHER[kind]] * 3), head_weighting=head_weighting)
    assert filled == [1]


@pytest.mark.parametrize("kind", ONE_BY_ONE)
def test_other_heads_are_passed_through_by_autograd(kind, filled):
    stage = Stage([ONE_BY_ONE[kind], TOGETHER["linear"], TOGETHER["linear"]])
    if kind == "hook":  # acts on the gradient that it is given, once
        torch.testing.assert_close(*(_weight_gradient(stage, watched) for watched in (True, False)))
    else:
        check(stage)
    assert not filled


def _weight_gradient(stage, watched):
    features, losses = stage.losses()
    if watched:
        features.register_hook(lambda gradient: None)
    stage.heads.zero_grad()
    method = make_method("mgda", gradients_on="features")
    method.backward(losses, stage.trunk.parameters(), features=features)
    return stage.heads[0].weight.grad


@pytest.mark.parametrize("scale", [1.0, 256.0])
def test_float64_and_loss_scaling(scale, filled):
    check(Stage([TOGETHER["deep"]] * 2, torch.float64), grad_scale=scale, head_weighting="same")
    assert filled == [1]


def test_a_task_beside_the_features_has_a_zero_row(filled):
    stage = Stage([TOGETHER["linear"]] * 3)
    own = nn.Parameter(torch.ones(2))
    features, losses = stage.losses()
    losses["t3"] = own.square().sum()
    losses["t4"] = torch.tensor(1.0)  # no graph at all
    method = make_method("mgda", gradients_on="features")
    method.backward(losses, stage.trunk.parameters(), features=features)
    assert filled == [1]
    assert not method.last_step.gram[3:].any()
    assert (method.last_step.gram.diagonal()[:3] > 0.0).all()
    torch.testing.assert_close(own.grad, 2.0 * torch.ones(2))


def test_a_loss_that_sends_nothing_has_a_zero_row(filled):
    stage = Stage([TOGETHER["linear"]] * 3)
    features, losses = stage.losses()
    losses["t1"] = _Silent.apply(stage.heads[1](features))
    method = make_method("mgda", gradients_on="features")
    method.backward(losses, stage.trunk.parameters(), features=features)
    assert filled == [1]
    assert not method.last_step.gram[1].any()
    assert not stage.heads[1].weight.grad.any()


class _Silent(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.sum()

    @staticmethod
    def backward(context, gradient):
        return None


def test_only_wanted_leaves_are_filled(filled):
    stage = Stage([TOGETHER["deep"]] * 2)
    first, last = stage.heads[0][0], stage.heads[1][2]
    features, losses = stage.losses()
    method = make_method("mgda", gradients_on="features")
    wanted = [first.weight, last.bias]
    method.backward(losses, stage.trunk.parameters(), heads=wanted, features=features)
    assert filled == [1]
    assert [leaf for leaf in stage.heads.parameters() if leaf.grad is not None] == wanted


def test_a_weight_of_the_trunk_after_the_first_layer_is_left_to_autograd(filled):
    stage = Stage([lambda: nn.Linear(8, 6), lambda: nn.Linear(8, 3)])
    square = nn.Linear(8, 8)
    features = square(stage.trunk(stage.inputs))
    tied = functional.linear(stage.heads[0](features), stage.trunk[0].weight)
    losses = {"t0": tied.square().mean(), "t1": stage.heads[1](features).square().mean()}
    shared = [*stage.trunk.parameters(), *square.parameters()]
    on_features = [torch.autograd.grad(x, features, retain_graph=True)[0] for x in losses.values()]
    method = make_method("mgda", gradients_on="features")
    method.backward(losses, shared, features=features)
    assert not filled
    combined = sum(w * g for w, g in zip(method.weights, on_features, strict=True))
    features = square(stage.trunk(stage.inputs))
    above = functional.linear(stage.heads[0](features.detach()), stage.trunk[0].weight)
    total = above.square().mean() + (features * combined).sum()
    expected = torch.autograd.grad(total, shared)
    for parameter, gradient in zip(shared, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_memory_written_to_since_the_forward_pass_is_noticed():
    stage = Stage([TOGETHER["linear"]] * 2)
    features, losses = stage.losses()
    with torch.no_grad():
        stage.heads[0].weight += 1.0
    method = make_method("mgda", gradients_on="features")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        method.backward(losses, stage.trunk.parameters(), features=features)
    assert all(leaf.grad is None for leaf in stage.trunk.parameters())


def test_hooks_on_the_output_of_a_layer_act(filled):
    stage = Stage([TOGETHER["linear"]] * 2)
    features = stage.trunk(stage.inputs)
    outputs = [head(features) for head in stage.heads]
    seen = []
    outputs[0].register_hook(lambda gradient: seen.append(1) or 0.0 * gradient)
    losses = {f"t{k}": output.square().mean() for k, output in enumerate(outputs)}
    method = make_method("mgda", gradients_on="features")
    method.backward(losses, stage.trunk.parameters(), features=features)
    assert (filled, seen) == ([1], [1])
    assert not method.last_step.gram[0].any()
    assert not stage.heads[0].weight.grad.any()
    assert stage.heads[1].weight.grad.any()


def test_module_hooks_on_a_layer_see_its_gradients(filled):
    stage = Stage([TOGETHER["linear"]] * 2)
    seen = []
    stage.heads[0].register_full_backward_hook(lambda *_: seen.append(1))
    check(stage)
    assert (filled, seen[:1]) == ([], [1])


def test_autocast_is_left_to_autograd(filled):
    stage = Stage([TOGETHER["linear"]] * 2)
    with torch.autocast("cpu", torch.bfloat16):
        features, losses = stage.losses()
    method = make_method("mgda", gradients_on="features")
    method.backward(losses, stage.trunk.parameters(), features=features)
    assert all(leaf.grad.any() for leaf in (*stage.trunk.parameters(), *stage.heads.parameters()))
    assert not filled


def test_autocast_around_the_step_changes_nothing(filled):
    stage = Stage([TOGETHER["linear"]] * 2)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.autocast("cpu", enabled=False):
            features, losses = stage.losses()
        method = make_method("mgda", gradients_on="features")
        method.backward(losses, stage.trunk.parameters(), features=features)
    assert filled == [1]
    expected = stage.expected(method.weights.tolist())
    for leaf in stage.heads.parameters():  # the pass through the trunk is torch's own
        torch.testing.assert_close(leaf.grad, expected[leaf], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [5, 6])
def test_few_heads_take_one_pass(count, filled, monkeypatch):
    monkeypatch.setattr(linear_heads, "_FEWEST", FEWEST)
    check(Stage([TOGETHER["linear"]] * count))
    assert len(filled) == (count == FEWEST)
