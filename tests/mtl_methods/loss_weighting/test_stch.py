from __future__ import annotations

import math

import pytest

from mtl_methods import make_method
from mtl_methods.errors import TaskError


def test_weights_are_the_softmax_of_losses(step):
    powers = [math.exp(0.1 / 0.5), math.exp(0.4 / 0.5)]
    expected = [power / sum(powers) for power in powers]
    assert step(make_method("stch", mu=0.5), [0.1, 0.4]) == pytest.approx(expected)


def test_small_mu_trains_the_worst_task_only(step):
    assert step(make_method("stch", mu=1e-4), [0.1, 0.4]) == pytest.approx([0.0, 1.0])


def test_losses_at_the_end_of_the_range_are_no_matter(step):
    assert step(make_method("stch", mu=1e-2), [1e38, 1.0]) == [1.0, 0.0]


def test_large_mu_is_linear_scalarisation(step):
    method = make_method("stch", mu=1e9, preferences={"a": 1.0, "b": 3.0})
    assert step(method, [5.0, 1.0]) == pytest.approx([0.5, 1.5])


def test_preferences_must_fit_the_tasks(step):
    with pytest.raises(TaskError, match="a, b"):
        step(make_method("stch", preferences={"a": 1.0, "c": 1.0}), [1.0, 1.0])


def test_log_form_warms_up_and_then_balances_around_the_nadir(step):
    method = make_method("stch", form="log_nadir", warmup_epochs=2, mu=1.0)
    method.setup("ab")
    method.end_epoch(epoch=0, train_losses={"a": 9.0, "b": 9.0})
    assert step(method, [2.0, 5.0]) == pytest.approx([0.5, 0.2])
    method.end_epoch(epoch=1, train_losses={"a": 2.0, "b": 10.0})
    # l / nadir = (1, 0.5), softmax of the logs = (2/3, 1/3), times K / l
    assert step(method, [2.0, 5.0]) == pytest.approx([2 * 2 / 3 / 2, 2 / 3 / 5])
    method.end_epoch(epoch=2, train_losses={"a": 1.0, "b": 1.0})
    assert step(method, [2.0, 5.0]) == pytest.approx([2 * 2 / 3 / 2, 2 / 3 / 5])
