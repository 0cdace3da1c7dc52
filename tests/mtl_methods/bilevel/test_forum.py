from __future__ import annotations

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import NonFiniteLossError


def gradients(problem):
    """Gradients of validation losses and of the mean training loss by theta; q's by alpha."""
    theta = problem.theta
    upper = [
        torch.autograd.grad(loss, theta)[0]
        for loss in problem.losses({"theta": theta}, "validation").values()
    ]
    losses = torch.stack(list(problem.losses({"theta": theta}, "train").values()))
    (lower,) = torch.autograd.grad(losses.mean(), theta)
    return torch.stack(upper), lower, losses.detach()


def look_ahead(problem, steps: int) -> torch.Tensor:
    theta = problem.theta.detach().clone()
    for _ in range(steps):
        theta.requires_grad_()
        losses = problem.losses({"theta": theta}, "train").values()
        (slope,) = torch.autograd.grad(sum(losses) / 2, theta)
        theta = (theta - problem.lr * slope).detach()
    return torch.stack(list(problem.losses({"theta": theta}, "train").values()))


@pytest.mark.parametrize("rho", [0.1, 1.0, 3.0])
def test_direction_solves_the_constrained_problem(problem, rho):
    problem.lr = 0.05
    method = make_method("forum", rho=rho, inner_steps=2)
    problem.step(method)
    upper, lower, losses = gradients(problem)
    gap = losses - look_ahead(problem, 2)
    alpha = 0.5 * (gap - gap.mean())
    got_theta, got_alpha = problem.theta.grad, method.parameters()[0].grad
    nu = float((got_alpha / alpha)[0])
    assert nu >= 0.0
    assert got_alpha.tolist() == pytest.approx((nu * alpha).tolist())
    # theta part is a convex combination of validation gradients plus nu times the training one
    shares = torch.linalg.solve(upper.T, got_theta - nu * lower)
    assert float(shares.sum()) == pytest.approx(1.0)
    assert bool((shares >= -1e-12).all())
    # optimality: the constraint holds, and no other share has a smaller slope
    square = float(lower @ lower + alpha @ alpha)
    product = float(lower @ got_theta + alpha @ got_alpha)
    assert product >= rho * square - 1e-12
    if nu > 1e-9:
        assert product == pytest.approx(rho * square)
    slopes = upper @ got_theta
    used = slopes[shares > 1e-9]
    assert float(slopes.min()) == pytest.approx(float(used.max()))
    assert method.weights is None


def test_lambda_is_averaged(problem):
    method = make_method("forum", average="iterations")
    problem.step(method)
    first = method.state["average"].clone()
    problem.step(method)  # same point: the solution is the same, and so is the average
    assert method.state["average"].tolist() == pytest.approx(first.tolist())
    with torch.no_grad():
        problem.theta += 1.0
    problem.step(method)
    plain = make_method("forum", average="none")
    problem.step(plain)
    found = plain.state["average"]
    rate = 3.0**-0.75
    expected = first + rate * (found - first)
    assert method.state["average"].tolist() == pytest.approx(expected.tolist())


def test_diverging_look_ahead_is_cut_short(problem):
    problem.lr = 1e3
    method = make_method("forum", inner_steps=10)
    problem.step(method)
    assert method.counters == {"look_ahead_diverged": 1}
    assert bool(torch.isfinite(problem.theta.grad).all())


def test_named_heads_restrict_what_is_written(problem):
    problem.step(make_method("forum"), heads=[])
    assert problem.theta.grad is not None
    other = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    losses = problem.losses({"theta": problem.theta}, "train")
    problem.theta.grad = None
    make_method("forum").backward(
        losses,
        [other],
        heads=[],
        closure=problem.losses,
        named_parameters={"theta": problem.theta},
        lr=0.1,
    )
    assert problem.theta.grad is None


def test_validation_loss_that_is_not_finite_names_its_task(problem):
    plain = problem.losses

    def losses(parameters, split):
        found = plain(parameters, split)
        return found if split == "train" else {**found, "b": found["b"] * float("nan")}

    problem.losses = losses
    with pytest.raises(NonFiniteLossError, match="'b'"):
        problem.step(make_method("forum"))
