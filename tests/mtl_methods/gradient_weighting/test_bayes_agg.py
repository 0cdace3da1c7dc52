from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.errors import TaskError
from mtl_methods.gradient_weighting.last_layer import recover_last_layer

B, D = 6, 4


def problem(outputs=(2, 1), seed=0):
    """Linear heads with squared errors of noise 1: B l = sum (o - y)^2 / 2."""
    torch.manual_seed(seed)
    shared = torch.randn(B, D, dtype=torch.float64, requires_grad=True)
    features = shared * 1.0
    heads = [nn.Linear(D, c).double() for c in outputs]
    targets = [torch.randn(B, c, dtype=torch.float64) for c in outputs]
    losses = {
        f"t{k}": 0.5 * ((head(features) - y) ** 2).sum() / B
        for k, (head, y) in enumerate(zip(heads, targets, strict=True))
    }
    return shared, features, heads, targets, losses


def posterior(features, target, prior_variance):
    """Bayesian linear regression with a bias, per output."""
    inputs = torch.cat([features.detach(), torch.ones(B, 1, dtype=torch.float64)], dim=1)
    precision = inputs.T @ inputs + torch.eye(D + 1, dtype=torch.float64) / prior_variance
    means = torch.linalg.solve(precision, inputs.T @ target).T
    return inputs, means, torch.linalg.inv(precision)


def test_update_is_the_precision_weighted_mean_of_sampled_gradients():
    shared, features, _, targets, losses = problem()
    method = make_method("bayes_agg", prior_variance=0.5)
    method.backward(losses, [shared], features=features)
    means, precisions = [], []
    for target in targets:
        inputs, mean, covariance = posterior(features, target, 0.5)
        drawn = torch.distributions.MultivariateNormal(mean, covariance).sample((100_000,))
        errors = torch.einsum("bi,soi->sbo", inputs, drawn) - target
        gradients = torch.einsum("sbo,soi->sbi", errors, drawn[..., :D])
        means.append(gradients.mean(dim=0))
        precisions.append(1.0 / gradients.var(dim=0))
    expected = sum(p * m for p, m in zip(precisions, means, strict=True)) / sum(precisions) / B
    torch.testing.assert_close(shared.grad, expected, rtol=0.05, atol=3e-3)
    assert method.weights is None


def test_posterior_is_that_of_bayesian_regression_and_adds_up_batches():
    _, features, _, targets, losses = problem()
    method = make_method("bayes_agg", prior_variance=0.5, memory=0.5)
    method.setup(["t0"], feature_dim=D)
    layer = method._scaled(recover_last_layer("bayes_agg", "t0", losses["t0"], features, ()), 1.0)
    inputs, mean, covariance = posterior(features, targets[0], 0.5)
    found_mean, found_covariance = method._posterior("t0", layer)
    torch.testing.assert_close(found_mean, mean)
    torch.testing.assert_close(found_covariance[1], covariance)
    found_mean, _ = method._posterior("t0", layer)  # the same batch, the first one at half
    precision = 1.5 * inputs.T @ inputs + 2.0 * torch.eye(D + 1, dtype=torch.float64)
    torch.testing.assert_close(
        found_mean, torch.linalg.solve(precision, 1.5 * inputs.T @ targets[0]).T
    )


def test_power_zero_is_the_mean():
    shared, features, _, _, losses = problem(outputs=(1, 1))
    make_method("bayes_agg", power=0.0).backward(losses, [shared], features=features)
    both = shared.grad.clone()
    parts = []
    for task in ("t0", "t1"):
        other, features, _, _, losses = problem(outputs=(1, 1))
        method = make_method("bayes_agg")
        method.setup(["t0", "t1"], feature_dim=D)
        method.backward({task: losses[task]}, [other], features=features)
        parts.append(other.grad)
    torch.testing.assert_close(both, (parts[0] + parts[1]) / 2)


@pytest.mark.parametrize("loss", ["squared", "cross_entropy", "binary"])
def test_slopes_and_curvatures(loss):
    _, features, heads, _, _ = problem(outputs=(3,))
    outputs = heads[0](features)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    ones = torch.nn.functional.one_hot(labels).double()
    shares = torch.softmax(outputs, dim=1)
    chances = torch.sigmoid(outputs)
    value, slopes, curvatures = {
        "squared": (
            (outputs - ones).pow(2).mean(),
            2 * (outputs - ones) / 18,
            torch.full((B, 3), 2 / 18),
        ),
        "cross_entropy": (
            nn.functional.cross_entropy(outputs, labels),
            (shares - ones) / B,
            shares * (1 - shares) / B,
        ),
        "binary": (
            nn.functional.binary_cross_entropy_with_logits(outputs, ones),
            (chances - ones) / 18,
            chances * (1 - chances) / 18,
        ),
    }[loss]
    layer = recover_last_layer("bayes_agg", "t", value, features, ())
    torch.testing.assert_close(layer.slopes, slopes.detach())
    torch.testing.assert_close(layer.curvatures, curvatures.double().detach())
    torch.testing.assert_close(layer.weights[:, :D], heads[0].weight.detach())
    torch.testing.assert_close(layer.weights[:, D], heads[0].bias.detach())


def test_square_heads_are_told_from_their_transposes():
    torch.manual_seed(0)
    features = torch.randn(B, D, dtype=torch.float64, requires_grad=True) * 1.0
    for stored in ("outputs first", "inputs first"):
        weight = torch.randn(D, D, dtype=torch.float64, requires_grad=True)
        outputs = features @ (weight.T if stored == "outputs first" else weight)
        layer = recover_last_layer("bayes_agg", "t", outputs.pow(2).mean(), features, ())
        found = layer.weights[:, :D]
        assert torch.equal(found if stored == "outputs first" else found.T, weight.detach())
        assert not layer.inputs[:, D].any()  # no bias


def test_other_heads_are_refused():
    shared, features, _, _, _ = problem()
    deep = nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Linear(D, 1)).double()
    bent = nn.Linear(D, 2).double()
    for output in (deep(features), (bent(features) * features[:, :2])):
        with pytest.raises(TaskError, match=r"'t'.*one linear layer"):
            make_method("bayes_agg").backward(
                {"t": output.pow(2).mean()}, [shared], features=features
            )
        assert shared.grad is None


def test_a_missing_task_keeps_its_posterior():
    shared, features, _, _, losses = problem()
    method = make_method("bayes_agg")
    method.setup(["t0", "t1"], feature_dim=D)
    method.backward(losses, [shared], features=features)
    kept = method.state["precision"]["t1"].clone()
    shared, features, _, _, losses = problem()
    method.backward({"t0": losses["t0"]}, [shared], features=features)
    assert torch.equal(method.state["precision"]["t1"], kept)
    assert not torch.equal(method.state["precision"]["t0"], kept)
