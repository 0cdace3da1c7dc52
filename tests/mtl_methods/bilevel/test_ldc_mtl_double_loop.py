from __future__ import annotations

import pytest
import torch

from mtl_methods import Need, make_method
from mtl_methods.errors import MissingNeedError


def router_gradient(method, problem) -> list[float]:
    problem.step(method)
    return method.parameters()[0].grad.tolist()


def optimum_term(problem, penalty: float, steps: int, log: bool = False) -> list[float]:
    """``penalty * d g(W, z_N) / dW`` at W = 0 for softmax weights, from scratch."""

    def normalised(theta):
        losses = torch.stack(list(problem.losses({"theta": theta}, "train").values()))
        return torch.log(losses / first) if log else losses

    with torch.no_grad():
        first = torch.stack(list(problem.losses({"theta": problem.theta}, "train").values()))
    theta = problem.theta.detach().clone()
    for _ in range(steps):
        theta.requires_grad_()
        (slope,) = torch.autograd.grad(penalty * normalised(theta).mean(), theta)
        theta = (theta - problem.lr * slope).detach()
    routing = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    total = penalty * (torch.softmax(routing, 0) * normalised(theta)).sum()
    return torch.autograd.grad(total, routing)[0].tolist()


@pytest.mark.parametrize("normalisation", ["none", "log"])
def test_router_descends_the_penalty(problem, normalisation):
    problem.lr = 0.02
    options = {"penalty": 3.0, "normalisation": normalisation}
    single = router_gradient(make_method("ldc_mtl", **options), problem)
    written = problem.theta.grad.clone()
    double = make_method("ldc_mtl", loop="double", inner_steps=4, **options)
    got = router_gradient(double, problem)
    term = optimum_term(problem, 3.0, 4, log=normalisation == "log")
    assert got == pytest.approx([s - t for s, t in zip(single, term, strict=True)])
    assert problem.theta.grad.tolist() == pytest.approx(written.tolist())


def test_term_vanishes_as_the_lower_level_is_solved(problem):
    """At the optimum of g the penalty g - g* has no slope: only the discrepancy is left."""
    problem.theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    problem.losses = lambda parameters, split: {
        "a": (parameters["theta"] ** 2).sum() + 1.0,
        "b": 2.0 * (parameters["theta"] ** 2).sum() + 3.0,
    }
    double = router_gradient(make_method("ldc_mtl", loop="double", penalty=5.0), problem)
    alone = router_gradient(make_method("ldc_mtl", penalty=0.0), problem)
    assert double == pytest.approx(alone)


def test_divergence_is_counted_and_falls_back_to_the_single_loop(problem):
    problem.lr = 1e6
    method = make_method("ldc_mtl", loop="double")
    got = router_gradient(method, problem)
    assert method.counters == {"look_ahead_diverged": 1}
    assert got == pytest.approx(router_gradient(make_method("ldc_mtl"), problem))


def test_closure_is_needed_by_the_double_loop_only(problem):
    method = make_method("ldc_mtl", loop="double")
    assert Need.VALIDATION_BATCH in method.needs
    assert Need.VALIDATION_BATCH not in make_method("ldc_mtl").needs
    losses = problem.losses({"theta": problem.theta}, "train")
    with pytest.raises(MissingNeedError, match="closure="):
        method.backward(losses, [problem.theta])
