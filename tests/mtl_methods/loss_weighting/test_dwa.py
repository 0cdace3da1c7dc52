from __future__ import annotations

import math

import pytest

from mtl_methods import make_method


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def test_epochs(step):
    method = make_method("dwa", temperature=2.0)
    method.setup("ab")
    assert step(method, [1.0, 1.0]) == [1.0, 1.0]
    method.end_epoch(epoch=0, train_losses={"a": 4.0, "b": 1.0})
    assert step(method, [1.0, 1.0]) == [1.0, 1.0]
    method.end_epoch(epoch=1, train_losses={"a": 1.0, "b": 0.5})
    expected = [2 * weight for weight in softmax([0.25 / 2, 0.5 / 2])]
    assert step(method, [1.0, 1.0]) == pytest.approx(expected)


def test_task_without_history_counts_as_constant(step):
    method = make_method("dwa", temperature=1.0)
    method.setup("ab")
    method.end_epoch(epoch=0, train_losses={"a": 4.0})
    method.end_epoch(epoch=1, train_losses={"a": 1.0, "b": 7.0})
    expected = [2 * weight for weight in softmax([0.25, 1.0])]
    assert step(method, [1.0, 1.0]) == pytest.approx(expected)


def test_iterations_wait_for_two_windows(step):
    method = make_method("dwa", level="iterations", window=2, temperature=1.0)
    for values in ([4.0, 1.0], [2.0, 1.0], [1.0, 1.0]):
        assert step(method, values) == [1.0, 1.0]
    expected = [2 * weight for weight in softmax([3.0 / 6.0, 1.0])]
    assert step(method, [2.0, 1.0]) == pytest.approx(expected)


def test_missing_task_keeps_its_window(step):
    method = make_method("dwa", level="iterations", window=1, temperature=1.0)
    method.setup("ab")
    step(method, [4.0, 8.0])
    step(method, [2.0, 4.0])
    for _ in range(3):
        step(method, [2.0], "a")
    assert method.state["history"][1].tolist() == [8.0, 4.0]
    expected = [2 * weight for weight in softmax([0.5, 2.0])]
    assert step(method, [1.0, 8.0]) == pytest.approx(expected)


def test_zero_mean_loss_is_counted(step):
    method = make_method("dwa", level="iterations", window=1)
    step(method, [0.0, 1.0])
    assert step(method, [1.0, 1.0]) == [1.0, 1.0]
    assert method.counters == {"zero_mean_loss": 1}


def test_means_of_losses_at_the_end_of_float64(step):
    method = make_method("dwa", level="iterations", window=2)
    for _ in range(5):
        weights = step(method, [1e308, 1.0])
    assert weights == pytest.approx([1.0, 1.0])
