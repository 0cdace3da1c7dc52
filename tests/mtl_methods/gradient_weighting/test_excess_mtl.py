from __future__ import annotations

import math

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import TaskError


def step(method, gradients: dict[str, list[float]]) -> torch.Tensor:
    shared = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    losses = {
        task: 1.0 + shared @ torch.tensor(gradient, dtype=torch.float64)
        for task, gradient in gradients.items()
    }
    method.backward(losses, [shared])
    assert shared.grad is not None
    expected = method.weights @ torch.tensor(list(gradients.values()), dtype=torch.float64)
    assert shared.grad.tolist() == pytest.approx(expected.tolist())
    return method.weights


def test_first_step_sets_the_scale_and_the_second_moves_the_weights():
    method = make_method("excess_mtl", step_size=1.0)
    assert step(method, {"a": [3.0, 4.0], "b": [0.0, 2.0]}).tolist() == [0.5, 0.5]
    # risks at first: |g|_1 = 7 and 2
    weights = step(method, {"a": [4.0, 3.0], "b": [0.0, 0.0]})
    risk = 16.0 / 5.0 + 9.0 / 5.0
    ratio = math.exp(risk / 7.0)
    assert weights.tolist() == pytest.approx([ratio / (1.0 + ratio), 1.0 / (1.0 + ratio)])


def test_weights_of_sum_k():
    method = make_method("excess_mtl", weight_sum="tasks")
    assert step(method, {"a": [3.0, 4.0], "b": [0.0, 2.0]}).tolist() == [1.0, 1.0]


def test_missing_task_keeps_weight_and_sums():
    method = make_method("excess_mtl", step_size=1.0)
    method.setup("abc")
    step(method, {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [1.0, 1.0]})
    weights = step(method, {"a": [1.0, 0.0], "b": [0.0, 0.1]})
    assert float(weights.sum()) == pytest.approx(2 / 3)
    assert method.state["log_weights"][2] == pytest.approx(math.log(1 / 3))
    assert method.state["squares"][2].tolist() == [1.0, 1.0]


def test_zero_first_gradient_waits_for_its_first_risk():
    method = make_method("excess_mtl")
    step(method, {"a": [0.0, 0.0], "b": [0.0, 1.0]})
    assert bool(torch.isfinite(step(method, {"a": [1.0, 0.0], "b": [0.0, 1.0]})).all())
    assert method.state["first_risk"] == {"b": 1.0, "a": 1.0}


def test_another_number_of_parameters_is_refused():
    method = make_method("excess_mtl")
    step(method, {"a": [1.0, 0.0]})
    shared = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(TaskError, match="2 shared parameters, but this step has 3"):
        method.backward({"a": shared.sum()}, [shared])
