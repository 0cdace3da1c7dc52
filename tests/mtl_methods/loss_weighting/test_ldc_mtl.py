from __future__ import annotations

import pytest
import torch

from mtl_methods import Need, make_method
from mtl_methods.errors import ConfigurationError, MissingNeedError, TaskError


def set_logits(method, logits, dtype=torch.float64):
    method.setup("abc"[: len(logits)], dtype=dtype)
    with torch.no_grad():
        method.parameters()[0].copy_(torch.tensor(logits, dtype=dtype))


def test_equation_2_by_hand(step):
    """f + lambda g with tau = 1: adjacent gaps give -1, 0 or 1 to their tasks."""
    method = make_method("ldc_mtl", penalty=4.0, tau="one")
    set_logits(method, [0.0, 0.0, 0.0])
    assert step(method, [3.0, 1.0, 2.0]) == pytest.approx(
        [4 / 3 + 1.0, 4 / 3 - 1.0 - 1.0, 4 / 3 + 1.0]
    )
    gradient = method.parameters()[0].grad
    values = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    shares = torch.full((3,), 1 / 3, dtype=torch.float64)
    expected = 4.0 * shares * (values - shares @ values)
    assert gradient.tolist() == pytest.approx(expected.tolist())


def test_tau_sigma_weighs_the_gaps(step):
    method = make_method("ldc_mtl", penalty=4.0)
    set_logits(method, [0.0, 0.0])
    assert step(method, [3.0, 1.0]) == pytest.approx([0.5 * 4 + 0.5, 0.5 * 4 - 0.5])


def test_the_two_forms_differ_by_a_factor(step):
    """f + lambda g is lambda (g + f / lambda): the paper's lambda is 1 / lamb of the code."""
    paper = make_method("ldc_mtl", penalty=20.0)
    code = make_method("ldc_mtl", penalty=1.0, discrepancy=0.05)
    weights = [step(method, [3.0, 1.0, 2.0]) for method in (paper, code)]
    assert weights[0] == pytest.approx([20.0 * w for w in weights[1]])


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [("rescaled", [1 / 4, 1 / 2]), ("rescaled_min", [1 / 2, 1.0]), ("log", [1 / 8, 1 / 3])],
)
def test_normalisation(step, normalisation, expected):
    method = make_method("ldc_mtl", discrepancy=0.0, penalty=2.0, normalisation=normalisation)
    step(method, [4.0, 2.0])
    assert step(method, [8.0, 3.0]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("normalisation", "renew", "renewed"),
    [("rescaled", None, False), ("log", None, True), ("rescaled", True, True)],
)
def test_initial_losses_and_epochs(step, normalisation, renew, renewed):
    method = make_method("ldc_mtl", normalisation=normalisation, renew_each_epoch=renew)
    step(method, [4.0, 2.0])
    method.end_epoch(epoch=0, train_losses={})
    step(method, [8.0, 8.0])
    assert method.state["initial"] == ({"a": 8.0, "b": 8.0} if renewed else {"a": 4.0, "b": 2.0})


def test_normalisation_needs_positive_losses(step):
    with pytest.raises(TaskError, match="'b' is 0"):
        step(make_method("ldc_mtl", normalisation="rescaled"), [4.0, 0.0])


def network_losses(features, heads):
    return {f"t{i}": (head(features.flatten(1)) ** 2).mean() + i for i, head in enumerate(heads)}


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 3)], ids=["flat", "maps"])
@pytest.mark.parametrize("hidden", [0, 7])
def test_router_on_features(shape, hidden):
    torch.manual_seed(0)
    scale = torch.ones(4, requires_grad=True)
    features = torch.randn(shape) * scale.view(1, 4, *[1] * (len(shape) - 2))
    heads = [torch.nn.Linear(features[0].numel(), 2) for _ in range(3)]
    method = make_method("ldc_mtl", router="features", hidden=hidden, penalty=3.0, discrepancy=0.0)
    assert Need.FEATURES in method.needs
    with pytest.raises(MissingNeedError, match="features"):
        method.backward(network_losses(features, heads), [scale])
    method.backward(network_losses(features, heads), [scale], features=features)
    pooled = features.flatten(2).mean(2) if len(shape) > 2 else features
    shares = torch.softmax(method.own.router(pooled), 1).mean(0)
    assert method.weights.tolist() == pytest.approx((3.0 * shares).tolist())
    assert all(p.grad is not None and bool(p.grad.any()) for p in method.parameters())
    assert len(method.parameters()) == (4 if hidden else 2)
    restored = make_method("ldc_mtl", router="features", hidden=hidden, penalty=3.0)
    restored.load_state_dict(method.state_dict())
    assert torch.equal(restored.own.router(pooled), method.own.router(pooled))


def test_features_get_no_gradient_through_the_router():
    torch.manual_seed(0)
    scale = torch.ones(4, requires_grad=True)
    features = torch.randn(5, 4) * scale
    losses = {"a": scale.sum() * 1.0, "b": scale.sum() * 2.0}
    method = make_method("ldc_mtl", router="features")
    method.backward(losses, [scale], features=features)
    expected = method.weights[0] + 2.0 * method.weights[1]
    assert scale.grad.tolist() == pytest.approx([float(expected)] * 4, rel=1e-5)


def test_learning_equalises_losses():
    """On two quadratics of one parameter the discrepancy pulls the losses together."""

    def gap(discrepancy):
        method = make_method("ldc_mtl", penalty=1.0, discrepancy=discrepancy, tau="one")
        method.setup(["a", "b"])
        x = torch.tensor([0.2], requires_grad=True)
        optimizer = torch.optim.SGD(
            [{"params": [x]}, {"params": method.parameters(), "lr": 0.0}], lr=0.01
        )
        for _ in range(400):
            losses = {"a": ((x - 1.0) ** 2).sum(), "b": 3.0 * ((x + 1.0) ** 2).sum()}
            optimizer.zero_grad()
            method.backward(losses, [x])
            optimizer.step()
        return abs(float(losses["a"].detach() - losses["b"].detach()))

    assert gap(1.0) < 0.3 * gap(0.0)


def test_settings_are_checked():
    with pytest.raises(ConfigurationError, match="both be 0"):
        make_method("ldc_mtl", penalty=0.0, discrepancy=0.0)
    with pytest.raises(ConfigurationError, match="clamp"):
        make_method("ldc_mtl", clamp=0.5)


def test_losses_at_the_ends_of_float64(step):
    method = make_method("ldc_mtl", normalisation="log")
    set_logits(method, [0.0, 0.0])
    step(method, [1e200, 1.0])
    assert step(method, [1e-200, 1.0])[0] > 0.0
    assert step(make_method("ldc_mtl", router="sigmoid", divide_by_sum="yes"), [1e308] * 3)


@pytest.mark.parametrize("divide_by_sum", ["yes", "detached"])
def test_weights_that_have_fallen_to_nothing(step, divide_by_sum):
    method = make_method("ldc_mtl", router="sigmoid", divide_by_sum=divide_by_sum)
    set_logits(method, [-40.0, -40.0])
    assert sum(step(method, [2.0, 1.0])) == pytest.approx(10.0)
    method = make_method("ldc_mtl", router="sigmoid", divide_by_sum=divide_by_sum)
    set_logits(method, [-800.0, -800.0])
    with pytest.raises(TaskError, match="all routed weights have fallen to 0"):
        step(method, [2.0, 1.0])
