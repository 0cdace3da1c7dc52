"""What is no state of a method is refused in a sentence, and nothing of it is loaded."""

from __future__ import annotations

import copy

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import TaskError
from mtl_methods.testing import network_stage
from mtl_methods.testing.expectations import round_trip, same_state

NAMES = ("fairgrad", "uw", "rotograd", "uw+cagrad", "log+uw", "rescale+famo+cagrad")


def trained(name, **settings):
    stage = network_stage(3)
    method = make_method(name, **settings)
    stage.setup(method)
    stage.run(method, 2)
    return method


def part(state, *path):
    for key in path:
        state = state[key]
    return state


def changed(state, path, value):
    state = copy.deepcopy(state)
    part(state, *path[:-1])[path[-1]] = value
    return state


def refused(method, state, match):
    before = round_trip(method.state_dict())
    random = torch.get_rng_state()
    with pytest.raises(TaskError, match=match):
        method.load_state_dict(state)
    assert same_state(before, round_trip(method.state_dict()))
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ready", [True, False], ids=["set up", "new"])
def test_states_of_something_else(name, ready):
    method = trained(name) if ready else make_method(name)
    refused(method, trained("graddrop").state_dict(), "belongs to 'graddrop'")
    refused(method, {}, "'name' is missing")
    refused(method, [1, 2], "got list")
    refused(method, {"name": method.name}, "is missing")


@pytest.mark.parametrize("ready", [True, False], ids=["set up", "new"])
@pytest.mark.parametrize(
    ("name", "path", "value", "match"),
    [
        ("uw", ["own"], {"other": torch.ones(3)}, "own parameters"),
        ("uw", ["own"], {}, "own parameters"),
        ("rotograd", ["own"], {}, "own parameters"),
        ("fairgrad", ["own"], {"other": torch.ones(3)}, "own parameters"),
        ("uw", ["generator"], "a text", "'generator' is a str"),
        ("uw", ["generator"], torch.ones(3), "no state of a random generator"),
        ("uw", ["generator"], torch.zeros(5, dtype=torch.uint8), "no state of a random generator"),
        ("uw+cagrad", ["gradient", "generator"], torch.ones(3), "cagrad: .* random generator"),
        ("uw+cagrad", ["gradient", "name"], "fairgrad", "cagrad: this state belongs to 'fairgrad'"),
        ("uw+cagrad", ["gradient", "tasks"], ["a", "b"], "its parts' tasks differ"),
        ("log+uw", ["transforms"], [], "for 0 transforms, this method has 1"),
        ("log+uw", ["transforms", 0, "name"], "rescale", "log: this state belongs to 'rescale'"),
        ("log+uw", ["method", "own"], {"other": torch.ones(3)}, "own parameters"),
    ],
)
def test_damaged_states(name, path, value, match, ready):
    state = trained(name).state_dict()
    method = trained(name) if ready else make_method(name)
    torch.manual_seed(0)
    refused(method, changed(state, path, value), match)


def test_the_last_part_is_asked_before_the_first_is_loaded():
    state = trained("uw+fairgrad").state_dict()
    state["gradient"]["own"] = {"other": torch.ones(1)}
    method = make_method("uw+fairgrad")
    refused(method, state, "own parameters")
    assert method.tasks == method.loss.tasks == ()


def test_states_for_other_tasks():
    stage = network_stage(("ant", "bee"))
    method = make_method("uw+cagrad")
    stage.setup(method)
    refused(method, trained("uw+cagrad").state_dict(), "tasks task_0, .* this method for ant, bee")
    refused(method, make_method("uw+cagrad").state_dict(), "for the tasks none yet")
