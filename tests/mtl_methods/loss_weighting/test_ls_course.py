from __future__ import annotations

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import ConfigurationError, TaskError
from mtl_methods.loss_weighting.ls_course import course_text


def weights_of(method):
    shared = torch.ones(3, dtype=torch.float64, requires_grad=True)
    method.backward({"a": shared.sum(), "b": (2.0 * shared).sum()}, [shared])
    return method.weights.tolist(), shared.grad.tolist()


def test_weights_change_at_the_epochs_of_the_course():
    method = make_method("ls_course", course="0: 1 1; 2: 0.5 1.5; 3: 2 0")
    seen = []
    for epoch in range(5):
        seen.append(weights_of(method)[0])
        method.end_epoch(epoch=epoch, train_losses={"a": 1.0, "b": 1.0})
    assert seen == [[1.0, 1.0], [1.0, 1.0], [0.5, 1.5], [2.0, 0.0], [2.0, 0.0]]


def test_without_a_course_it_is_the_plain_sum():
    assert weights_of(make_method("ls_course")) == weights_of(make_method("ls"))


def test_the_epoch_is_part_of_the_state():
    first, second = (make_method("ls_course", course="0: 1 1; 1: 3 1") for _ in range(2))
    weights_of(first)
    first.end_epoch(epoch=0, train_losses={})
    second.load_state_dict(first.state_dict())
    assert weights_of(second)[0] == [3.0, 1.0]


def test_a_course_as_text_keeps_every_digit():
    course = [(0, [0.1 + 0.2, 1 / 3]), (7, [1e-7, 2.0])]
    method = make_method("ls_course", course=course_text(course))
    assert weights_of(method)[0] == [0.1 + 0.2, 1 / 3]


@pytest.mark.parametrize(
    "course",
    [
        "",
        "1 1",
        "0: ",
        "0: a b",
        "0: -1 1",
        "0: nan 1",
        "0: 0 0",
        "1: 1 1",
        "0: 1 1; 0: 1 2",
        "0:1;",
    ],
)
def test_what_is_no_course_is_refused(course):
    with pytest.raises(ConfigurationError, match=r"^ls_course: course = .*0: 1 1; 5: 0.6 1.4"):
        make_method("ls_course", course=course)


def test_a_course_of_other_tasks_is_refused():
    with pytest.raises(
        TaskError, match="ls_course: course: 3 weights are given from epoch 0 on for 2 tasks"
    ):
        weights_of(make_method("ls_course", course="0: 1 1 1"))
