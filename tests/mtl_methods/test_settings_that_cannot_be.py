"""Settings that cannot mean what they say are refused as soon as that is known, or told."""

from __future__ import annotations

import logging

import pytest

from mtl_methods import make_method
from mtl_methods.errors import ConfigurationError


@pytest.mark.parametrize("leaks", [[0.1, 5], {"a": 0.0, "b": 1.5}, [0.0, float(2)]])
def test_a_leak_above_one(leaks):
    with pytest.raises(ConfigurationError, match=r"graddrop: task_leak .* <= 1"):
        make_method("graddrop", task_leak=leaks)


def test_leaks_up_to_one():
    assert make_method("graddrop", task_leak=[0.0, 1.0]).settings()["task_leak"] == (0.0, 1.0)


@pytest.mark.parametrize(("size", "told"), [(9, 1), (8, 0), (None, 0)])
def test_more_rotated_features_than_there_are(size, told, caplog):
    caplog.set_level(logging.WARNING, logger="mtl_methods")
    method = make_method("rotograd", size=size)
    method.setup("ab", feature_dim=8)
    assert method.rotations().shape == (2, 8, 8)
    assert caplog.text.count("size = 9 is more than the 8 features") == told


@pytest.mark.parametrize(("groups", "tasks", "told"), [(9, "ab", 1), (2, "ab", 0), (2, "a", 0)])
def test_more_groups_than_tasks(groups, tasks, told, caplog):
    caplog.set_level(logging.WARNING, logger="mtl_methods")
    make_method("go4align", num_groups=groups).setup(tasks)
    assert caplog.text.count(f"num_groups = {groups} is more than the 2 tasks") == told
