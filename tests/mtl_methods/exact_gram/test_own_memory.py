"""What is kept of tasks is not copied without need, and scratch memory is nobody's gradient."""

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.exact_gram import factors
from mtl_methods.exact_gram import plan as planning
from mtl_methods.exact_gram.factors import Workspace
from mtl_methods.exact_gram.memory import is_sole_owner


class Net:
    def __init__(self, tasks, seed=0):
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(96, 2) for _ in range(tasks))
        self.inputs = torch.randn(6, 96)

    def losses(self):
        features = self.trunk(self.inputs)
        return {f"t{k}": head(features).square().mean() for k, head in enumerate(self.heads)}

    def step(self, method):
        method.backward(self.losses(), shared=list(self.trunk.parameters()))
        assert method.gram_plan.path == "exact"
        return [parameter.grad for parameter in self.trunk.parameters()]


@pytest.mark.parametrize("tasks", [2, 4])
def test_few_tasks_are_kept_without_a_copy(tasks, monkeypatch):
    asked = []

    def recorded(tensor):
        asked.append(is_sole_owner(tensor))
        return asked[-1]

    monkeypatch.setattr(planning, "_BATCHED", frozenset())  # one task after the other
    monkeypatch.setattr(factors, "is_sole_owner", recorded)
    Net(tasks).step(make_method("fairgrad", gram_path="exact"))
    assert asked
    assert all(asked)


@pytest.mark.parametrize("tasks", [2, 11])
def test_later_steps_leave_gradients_alone(tasks):
    method = make_method("fairgrad", gram_path="exact")
    found = Net(tasks).step(method)
    known = [gradient.clone() for gradient in found]
    Net(tasks, seed=1).step(method)
    for gradient, before in zip(found, known, strict=True):
        assert torch.equal(gradient, before)


def test_scratch_memory_is_handed_out_again():
    workspace = Workspace()
    first = workspace.scratch((3, 4), torch.float32, torch.device("cpu"))
    smaller = workspace.scratch((2, 2), torch.float32, torch.device("cpu"))
    assert first.shape == (3, 4)
    assert smaller.shape == (2, 2)
    assert smaller.data_ptr() == first.data_ptr()
    other = workspace.scratch((2, 2), torch.float64, torch.device("cpu"))
    assert other.dtype == torch.float64
    assert other.data_ptr() != first.data_ptr()
