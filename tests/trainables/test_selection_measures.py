from __future__ import annotations

import math

import pytest

from mtl_methods.errors import ConfigurationError
from trainables.errors import ReferenceMetricError
from trainables.problem import Metric, Task
from trainables.selection import (
    check_reference,
    delta_m,
    delta_mtm,
    metric_drops,
    selection_value,
    task_drops,
)

TASKS = (
    Task("a", "nll", (Metric("accuracy", higher_is_better=True),)),
    Task("b", "l1", (Metric("error", False), Metric("hits", True), Metric("bias", False))),
)
REFERENCE = {"a": {"accuracy": 0.8}, "b": {"error": 2.0, "hits": 10.0, "bias": -4.0}}
VALUES = {"a": {"accuracy": 0.6}, "b": {"error": 1.0, "hits": 11.0, "bias": -3.0}}


def test_by_hand():
    drops = metric_drops(TASKS, VALUES, REFERENCE)
    assert drops["a"]["accuracy"] == pytest.approx(25.0)
    assert drops["b"] == pytest.approx({"error": -50.0, "hits": -10.0, "bias": 25.0})
    assert task_drops(drops) == pytest.approx({"a": 25.0, "b": -35.0 / 3})
    assert delta_m(drops) == pytest.approx(-2.5)  # mean over four metrics
    assert delta_mtm(drops) == pytest.approx(-(25.0 - 35.0 / 3) / 2)  # mean over two tasks
    # The two measures can disagree even about the sign of the change; they are not one number.
    assert delta_m(drops) < 0
    assert delta_mtm(drops) < 0


def test_the_reference_itself_has_no_drop():
    drops = metric_drops(TASKS, REFERENCE, REFERENCE)
    assert delta_m(drops) == 0.0
    assert delta_mtm(drops) == 0.0


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_unusable_reference(bad):
    with pytest.raises(ReferenceMetricError, match=r"b\.hits is"):
        metric_drops(TASKS, VALUES, {**REFERENCE, "b": {**REFERENCE["b"], "hits": bad}})


def test_missing_reference():
    with pytest.raises(ReferenceMetricError, match="lacks the metric 'accuracy' of task 'a'"):
        check_reference(TASKS, {"b": REFERENCE["b"]})


def test_selection_is_always_higher_for_better():
    losses = {"a": 0.5, "b": 1.5}
    drops = metric_drops(TASKS, VALUES, REFERENCE)
    assert selection_value("delta_mtm", TASKS, VALUES, losses, REFERENCE) == delta_mtm(drops)
    assert selection_value("delta_m", TASKS, VALUES, losses, REFERENCE) == -delta_m(drops)
    assert selection_value("loss", TASKS, VALUES, losses, REFERENCE) == -2.0
    assert selection_value("delta_mtm", TASKS[:1], VALUES, losses, None) == 0.6
    assert selection_value("delta_mtm", TASKS[1:], VALUES, losses, None) == -1.0


def test_several_tasks_need_a_reference():
    with pytest.raises(ConfigurationError, match="needs a single-task reference"):
        selection_value("delta_mtm", TASKS, VALUES, {}, None)
