"""Methods keep to the devices of what they are given, whatever PyTorch's default device is."""

import functools

import pytest
import torch

from mtl_methods import Need, list_methods, make_method
from mtl_methods.testing.expectations import fresh
from mtl_methods.testing.stage import network_stage

ELSEWHERE = torch.device("meta")  # stands for a GPU: nothing of the step may land there


@pytest.mark.parametrize("name", [*list_methods(), "uw+fairgrad", "log+cagrad", "alpha_fair+rlw"])
def test_a_step_under_another_default_device(name):
    if Need.VALIDATION_BATCH in list_methods().get(name, make_method(name)).needs:
        pytest.skip("its closure is the caller's, and runs within the step")
    outcomes = []
    for elsewhere in (False, True):
        stage = network_stage()
        method = fresh(functools.partial(make_method, name), stage)
        if elsewhere:
            for told in ("backward", "after_step", "end_epoch"):
                setattr(method, told, _elsewhere(getattr(method, told)))
        outcomes.append([outcome.written for outcome in stage.run(method, 4)])
    for here, there in zip(*outcomes, strict=True):
        assert there.device.type == "cpu"
        assert torch.equal(here, there)


def _elsewhere(function):
    def call(*args, **kwargs):
        with ELSEWHERE:
            return function(*args, **kwargs)

    return call
