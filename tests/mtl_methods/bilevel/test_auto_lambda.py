from __future__ import annotations

import pytest
import torch

from mtl_methods import compose, make_method
from mtl_methods.errors import MissingNeedError, TaskError
from mtl_methods.gradient_weighting import FairGrad


def own_gradient(method) -> torch.Tensor:
    (own,) = method.parameters()
    return own.grad


def test_exact_hypergradient_is_the_derivative_of_the_look_ahead(problem):
    method = make_method("auto_lambda")
    problem.step(method)
    wanted = problem.slopes(torch.full((2,), 0.1, dtype=torch.float64)).sum(0)
    assert own_gradient(method).tolist() == pytest.approx(wanted.tolist(), rel=1e-6)
    assert method.weights.tolist() == pytest.approx([0.1, 0.1])


def test_finite_difference_is_near_and_needs_no_second_derivatives(problem):
    method = make_method("auto_lambda", hypergradient="finite_difference")
    problem.step(method)
    wanted = problem.slopes(torch.full((2,), 0.1, dtype=torch.float64)).sum(0)
    got = own_gradient(method).tolist()
    assert got == pytest.approx(wanted.tolist(), rel=1e-3)
    assert got != pytest.approx(wanted.tolist(), rel=1e-9)


def test_only_primary_tasks_count(problem):
    method = make_method("auto_lambda", primary_tasks="b")
    problem.step(method)
    wanted = problem.slopes(torch.full((2,), 0.1, dtype=torch.float64))[1]
    assert own_gradient(method).tolist() == pytest.approx(wanted.tolist(), rel=1e-6)


def test_softmax_weights_follow_the_chain_rule(problem):
    method = make_method("auto_lambda", parametrisation="softmax")
    problem.step(method)
    slopes = problem.slopes(torch.full((2,), 0.5, dtype=torch.float64)).sum(0)
    wanted = 0.5 * (slopes - slopes.mean())
    assert own_gradient(method).tolist() == pytest.approx(wanted.tolist(), rel=1e-6)


def test_own_look_ahead_length(problem):
    method = make_method("auto_lambda", inner_lr=0.01)
    problem.step(method)
    problem.lr = 0.01
    wanted = problem.slopes(torch.full((2,), 0.1, dtype=torch.float64)).sum(0)
    assert own_gradient(method).tolist() == pytest.approx(wanted.tolist(), rel=1e-6)


def test_negative_weights_are_counted_or_clipped(problem):
    method = make_method("auto_lambda")
    problem.step(method)
    with torch.no_grad():
        method.parameters()[0][0] = -0.2
    problem.step(method)
    assert method.weights.tolist() == pytest.approx([-0.2, 0.1])
    assert method.counters == {"negative_weight": 1}
    clipped = make_method("auto_lambda", negative_weights="clip")
    clipped.setup(("a", "b"), dtype=torch.float64)
    with torch.no_grad():
        clipped.parameters()[0][0] = -0.2
    problem.step(clipped)
    assert clipped.weights.tolist() == pytest.approx([0.0, 0.1])


def test_validation_batch_without_primary_task_leaves_the_weights_alone(problem):
    problem.validation_tasks = ("b",)
    method = make_method("auto_lambda", primary_tasks="a")
    problem.step(method)
    assert own_gradient(method) is None
    assert method.counters == {"no_primary_task": 1}


def test_training_batch_without_a_task(problem):
    method = make_method("auto_lambda")
    method.setup(("a", "b"), dtype=torch.float64)
    problem.tasks = ("b",)
    problem.step(method)
    wanted = problem.slopes(torch.full((1,), 0.1, dtype=torch.float64)).sum(0)
    assert own_gradient(method).tolist() == pytest.approx([0.0, float(wanted)], rel=1e-6)


def test_composes_with_a_gradient_weighting(problem):
    method = compose(make_method("auto_lambda"), FairGrad())
    problem.step(method)
    assert own_gradient(method) is not None
    rows = torch.stack(
        [
            torch.autograd.grad(loss, problem.theta, retain_graph=True)[0]
            for loss in problem.losses({"theta": problem.theta}, "train").values()
        ]
    )
    assert problem.theta.grad.tolist() == pytest.approx((method.weights @ rows).tolist())


def test_under_a_transform_validation_losses_are_transformed_too(problem):
    method = make_method("log+auto_lambda")
    problem.step(method)
    plain = problem.losses
    problem.losses = lambda parameters, split: {
        task: loss.log() for task, loss in plain(parameters, split).items()
    }
    wanted = problem.slopes(torch.full((2,), 0.1, dtype=torch.float64)).sum(0)
    assert own_gradient(method).tolist() == pytest.approx(wanted.tolist(), rel=1e-6)


def test_refusals(problem):
    with pytest.raises(TaskError, match="primary_tasks = 'c': 'c' is none of the tasks a, b"):
        problem.step(make_method("auto_lambda", primary_tasks="c"))
    losses = problem.losses({"theta": problem.theta}, "train")
    with pytest.raises(MissingNeedError, match="lr="):
        make_method("auto_lambda").backward(
            losses,
            [problem.theta],
            closure=problem.losses,
            named_parameters={"theta": problem.theta},
        )
