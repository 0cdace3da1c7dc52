from __future__ import annotations

import pytest

from mtl_methods import make_method
from mtl_methods.errors import TaskError


def test_weights_are_reciprocal_losses(step):
    assert step(make_method("si"), [0.5, 4.0]) == pytest.approx([2.0, 0.25])


def test_mean_divides_by_the_tasks_of_the_batch(step):
    method = make_method("si", reduction="mean")
    method.setup("abc")
    assert step(method, [0.5, 4.0], "ac") == pytest.approx([1.0, 0.125])


def test_floor_is_subtracted(step):
    assert step(make_method("si", loss_floor=-1.0), [-0.5, 1.0]) == pytest.approx([2.0, 0.5])


@pytest.mark.parametrize("name", ["si", "gls", "go4align"])
def test_loss_at_the_floor_names_the_task(step, name):
    with pytest.raises(TaskError, match=r"'b' is 0.*loss_floor = 0"):
        step(make_method(name), [1.0, 0.0])
