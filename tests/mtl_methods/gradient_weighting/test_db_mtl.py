from __future__ import annotations

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import ConfigurationError, TaskError


def step(method, gradients: dict[str, list[float]], values: dict[str, float]) -> list[float]:
    shared = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    heads = {task: torch.zeros((), dtype=torch.float64, requires_grad=True) for task in values}
    losses = {
        task: values[task] + heads[task] + shared @ torch.tensor(gradient, dtype=torch.float64)
        for task, gradient in gradients.items()
    }
    method.backward(losses, [shared])
    for task, head in heads.items():
        assert head.grad is not None
        assert float(head.grad) == pytest.approx(1.0 / values[task])
    assert shared.grad is not None
    return shared.grad.tolist()


def test_without_memory_all_log_gradients_are_as_long_as_the_longest():
    method = make_method("db_mtl", forgetting_rate=0.0)
    written = step(method, {"a": [3.0, 4.0], "b": [0.0, 1.0]}, {"a": 2.0, "b": 4.0})
    # log gradients (1.5, 2) and (0, 0.25): the longest has length 2.5
    assert written == pytest.approx([1.5, 2.0 + 2.5])
    assert method.weights is not None
    assert method.weights.tolist() == pytest.approx([0.5, 2.5])


def test_moving_average_starts_at_zero_and_is_kept_per_task():
    method = make_method("db_mtl", forgetting_rate=0.5, decay=1.0)
    method.setup("ab")
    step(method, {"a": [2.0, 0.0]}, {"a": 1.0})
    assert method.weights is None
    assert method.state["average"].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    written = step(method, {"a": [2.0, 0.0], "b": [0.0, 8.0]}, {"a": 1.0, "b": 1.0})
    # a: 1/4 * 1 + 3/4 * 2 = 1.75 at its second step, b: 4 at its first
    assert method.state["average"].tolist() == [[1.75, 0.0], [0.0, 4.0]]
    assert written == pytest.approx([4.0, 4.0])


def test_task_without_gradient_adds_nothing():
    method = make_method("db_mtl", forgetting_rate=0.0)
    assert step(method, {"a": [0.0, 0.0], "b": [0.0, 3.0]}, {"a": 1.0, "b": 1.0}) == [0.0, 3.0]


def test_heads_cannot_share_weights_that_do_not_exist():
    with pytest.raises(ConfigurationError, match="forgetting_rate = 0"):
        make_method("db_mtl", head_weighting="same")


def test_losses_must_be_positive():
    with pytest.raises(TaskError, match="'a'"):
        step(make_method("db_mtl"), {"a": [1.0, 0.0]}, {"a": -1.0})
