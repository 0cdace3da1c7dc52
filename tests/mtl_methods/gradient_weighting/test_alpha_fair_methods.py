"""Nash-MTL, FairGrad and PIVRG: options, stationary points, tasks without gradient."""

from __future__ import annotations

import math

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import (
    ConfigurationError,
    MissingNeedError,
    ParetoStationaryError,
    TaskError,
)
from mtl_methods.testing import matrix_stage

FAMILY = ("nash_mtl", "fairgrad", "pivrg")
GENERATOR = torch.Generator().manual_seed(11)
GENERIC = torch.randn(3, 7, generator=GENERATOR, dtype=torch.float64)
STATIONARY = torch.cat([GENERIC[:2], -0.3 * GENERIC[:1] - 0.6 * GENERIC[1:2]])


def step(method, gradients):
    return matrix_stage(gradients).step(method, update=False)


@pytest.mark.parametrize("name", [*FAMILY, "fairgrad:inf"])
@pytest.mark.parametrize("head_weighting", ["unit", "same"])
def test_stationary_point_stops_the_trunk_but_not_the_heads(name, head_weighting):
    name, _, alpha = name.partition(":")
    settings = {"alpha": math.inf} if alpha else {}
    method = make_method(name, head_weighting=head_weighting, **settings)
    outcome = step(method, STATIONARY)
    assert method.counters == {"pareto_stationary": 1}
    assert outcome.weights.tolist() == [0.0, 0.0, 0.0]
    assert not outcome.written.any()
    assert [written.item() for _, written in outcome.heads.values()] == [1.0, 1.0, 1.0]
    strict = make_method(name, on_pareto_stationary="raise", **settings)
    with pytest.raises(ParetoStationaryError, match=name):
        step(strict, STATIONARY)


def test_weights_of_a_stationary_point_are_not_kept():
    method = make_method("nash_mtl", update_weights_every=10)
    assert not step(method, STATIONARY).weights.any()
    assert bool((step(method, GENERIC).weights > 0).all())
    kept = method.weights
    assert torch.equal(step(method, STATIONARY).weights, kept)  # not due: kept ones are used


@pytest.mark.parametrize("name", FAMILY)
def test_a_task_without_shared_gradient_is_left_out_and_its_head_trained(name):
    method = make_method(name, head_weighting="same")
    outcome = step(method, torch.cat([GENERIC[:2], torch.zeros(1, 7, dtype=torch.float64)]))
    alone = step(make_method(name), GENERIC[:2])
    assert outcome.weights.tolist() == [*alone.weights.tolist(), 0.0]
    assert outcome.heads["task_2"][1].item() == 1.0
    assert method.counters == {"zero_gradient": 1}


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_solvers_of_the_paper_agree_on_easy_gradients(alpha):
    exact = step(make_method("fairgrad", alpha=alpha), GENERIC).weights
    method = make_method("fairgrad", alpha=alpha, solver="least_squares")
    assert step(method, GENERIC).weights.tolist() == pytest.approx(exact.tolist(), rel=1e-5)
    assert method.counters == {}


def test_sgd_solver_approaches_the_solution():
    gradients = 0.3 * GENERIC
    method = make_method("fairgrad", solver="sgd")
    exact = step(make_method("fairgrad"), gradients).weights
    found = step(method, gradients).weights
    start = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert (found - exact).norm() < 0.5 * (start - exact).norm()
    assert method.counters == {"solver_tolerance": 1}


def test_a_solver_that_fails_is_counted():
    """Least squares stops at once where gradients are small, and calls it convergence."""
    method = make_method("fairgrad", solver="least_squares")
    step(method, 1e-4 * GENERIC)
    assert method.counters == {"solver_tolerance": 1}
    assert method.last_step.residual > 1e-3
    exact = make_method("fairgrad")
    step(exact, 1e-4 * GENERIC)
    assert exact.counters == {}
    assert exact.last_step.residual < 1e-9


@pytest.mark.parametrize("alpha", [-1.0, math.nan, "2"])
def test_alpha_has_a_range(alpha):
    with pytest.raises(ConfigurationError, match=r"alpha.*>= 0.*FairGrad"):
        make_method("fairgrad", alpha=alpha)


def test_float32_gradients_that_cancel_to_rounding_are_stationary():
    gradients = torch.cat([GENERIC, -GENERIC.sum(0, keepdim=True)]).float()
    method = make_method("nash_mtl")
    matrix_stage(gradients, dtype=torch.float32).step(method, update=False)
    assert method.counters == {"pareto_stationary": 1}


def test_pivrg_asks_for_drops():
    method = make_method("pivrg")
    method.setup(["a", "b"])
    with pytest.raises(MissingNeedError, match="performance_drops"):
        method.end_epoch(epoch=0, train_losses={})
    for drops in ({"a": 1.0}, {"a": 1.0, "b": math.nan}):
        with pytest.raises(TaskError, match="'b'"):
            method.end_epoch(epoch=0, train_losses={}, performance_drops=drops)


def test_pivrg_weights_the_task_that_lags():
    method = make_method("pivrg", tau_star=1.0)
    before = step(method, GENERIC).weights
    drops = {"task_0": -3.0, "task_1": 0.0, "task_2": 9.0}
    method.end_epoch(epoch=0, train_losses={}, performance_drops=drops)
    ratio = step(method, GENERIC).weights / before
    assert ratio[2] > 1.0 > ratio[0]
