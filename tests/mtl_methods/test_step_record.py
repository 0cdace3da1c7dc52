"""The record of a step: weights become a tensor when they are read."""

import copy
import pickle
from typing import ClassVar, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mtl_methods import StepRecord, make_method
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.gram_weighting import GramWeighting


def test_numbers_become_one_tensor():
    record = StepRecord(tasks=("a", "b"))
    assert record.weights is None
    record.tell_weights([1.0, 2.0], torch.zeros((), dtype=torch.float64))
    assert record.weights.tolist() == [1.0, 2.0]
    assert record.weights.dtype == torch.float64
    assert record.weights is record.weights


def test_numbers_live_where_they_were_told_to_whoever_reads_them():
    record = StepRecord()
    record.tell_weights([1.0, 2.0], torch.zeros(()))
    with torch.device("meta"), torch.inference_mode():
        assert record.weights.device.type == "cpu"
    assert not record.weights.is_inference()


@pytest.mark.parametrize("name", ["ls", "uw", "famo", "upgrad", "fairgrad"])
def test_a_default_device_is_not_that_of_the_step(name):
    parameter = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
    method = make_method(name)
    method.setup(("a", "b"))
    with torch.device("meta"):
        losses = {"a": 2.0 * parameter.square().sum(), "b": parameter.exp().sum()}
        method.backward(losses, [parameter])
        assert method.weights.device.type == "cpu"
    assert parameter.grad.device.type == "cpu"


def test_a_record_is_an_ordinary_dataclass():
    assert get_type_hints(StepRecord)["weights"] == Tensor | None
    record = StepRecord(weights=torch.ones(1))
    del record.weights
    assert record.weights is None
    assert record == StepRecord()


def test_a_tensor_stays_what_it_is():
    weights = torch.ones(2)
    assert StepRecord(weights=weights).weights is weights


@pytest.mark.parametrize("again", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_a_record_is_copied_with_its_weights(again):
    record = StepRecord(tasks=("a",))
    record.tell_weights(np.array([3.0]), torch.zeros(()))
    assert again(record).weights.tolist() == [3.0]
    assert "weights=tensor([3.])" in repr(record)


@pytest.mark.parametrize(
    ("loss", "weights"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_weights_are_no_narrower_than_float32(loss, weights):
    parameter = nn.Parameter(torch.ones(2, dtype=loss))
    method = make_method("ls")
    method.backward({"a": parameter.sum(), "b": parameter.prod()}, [parameter])
    assert method.weights.dtype == weights


@pytest.mark.parametrize("name", ["uw", "dwa", "fairgrad", "cagrad"])
def test_weights_are_those_of_their_step_when_read_later(name):
    def step(method):
        parameter.grad = None
        method.backward({"a": parameter.square().sum(), "b": parameter.exp().sum()}, [parameter])
        for own in method.parameters():
            own.data -= 0.1 * own.grad
        return method.last_step

    parameter = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
    early, late = make_method(name), make_method(name)
    read = [step(early).weights.tolist() for _ in range(3)]
    kept = [step(late) for _ in range(3)]
    assert [record.weights.tolist() for record in kept] == read


class _KeepsItsWeights(GramWeighting):
    """Gives its own array, which it changes in every step."""

    name: ClassVar[str] = "keeps_its_weights"

    def solve(self, gram, inputs):
        if not hasattr(self, "_own_weights"):
            self._own_weights = np.zeros(len(gram))
        self._own_weights += 1.0
        return Combination(weights=self._own_weights)


def test_weights_read_late_are_those_of_their_step():
    method = _KeepsItsWeights()
    parameter = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
    records = []
    for _ in range(2):
        losses = {"a": 2.0 * parameter.square().sum(), "b": parameter.exp().sum()}
        method.backward(losses, [parameter])
        records.append(method.last_step)
    assert [record.weights.tolist() for record in records] == [[1.0, 1.0], [2.0, 2.0]]
