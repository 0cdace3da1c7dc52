"""What is kept of tasks is not copied without need, and scratch memory is nobody's gradient."""

import weakref

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.exact_gram import kept
from mtl_methods.exact_gram import recipe as planning
from mtl_methods.exact_gram.memory import is_sole_owner
from mtl_methods.exact_gram.workspace import Workspace


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
    monkeypatch.setattr(kept, "is_sole_owner", recorded)
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


HOLDERS = {
    "nobody": lambda gradient: None,
    "itself": lambda gradient: gradient,
    "a view": lambda gradient: gradient[1:],
    "detached": lambda gradient: gradient.detach(),
    "its storage": lambda gradient: gradient.untyped_storage(),
    "an array": lambda gradient: gradient.numpy(),
    "shared memory": lambda gradient: str(gradient.share_memory_()),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_memory_of_a_gradient_is_used_again_once_nobody_has_it(holder):
    net, method = Net(2), make_method("fairgrad", gram_path="exact")
    weight = net.trunk[0].weight
    net.step(method)
    place, known = weight.grad.data_ptr(), weight.grad.clone()
    held = HOLDERS[holder](weight.grad)
    net.trunk.zero_grad()
    with torch.no_grad():
        weight *= 0.5
    net.step(method)
    assert (weight.grad.data_ptr() == place) is (holder == "nobody")
    assert not torch.equal(weight.grad, known)
    if isinstance(held, torch.Tensor):
        assert torch.equal(held, known[-len(held) :])


def test_gradients_that_stay_are_added_to():
    net, method = Net(2), make_method("fairgrad", gram_path="exact")
    weight = net.trunk[0].weight
    for count in range(1, 4):
        net.step(method)
        if count == 1:
            once = weight.grad.clone()
        torch.testing.assert_close(weight.grad, count * once)


@pytest.mark.parametrize("change", [{"shape": (4, 3)}, {"dtype": torch.float64}, {"key": 1}])
def test_memory_of_another_kind_is_another(change):
    workspace = Workspace()
    kind = {"key": 0, "shape": (3, 4), "dtype": torch.float32, "device": torch.device("cpu")}
    held = workspace.gift(**kind)
    first = held.data_ptr()
    del held
    workspace.reset()
    assert workspace.gift(**kind).data_ptr() == first
    workspace.reset()
    kind |= change
    other = workspace.gift(**kind)
    assert other.shape == kind["shape"]
    assert other.dtype == kind["dtype"]
    if "key" in change:
        assert other.data_ptr() != first


def test_memory_that_a_step_did_not_ask_for_is_dropped():
    """As that of a model that is no more."""
    workspace = Workspace()
    device = torch.device("cpu")
    for key in range(5):
        workspace.reset()
        workspace.gift(key, (3, 4), torch.float32, device)
    assert len(workspace._gifts) + len(workspace._given) == 2


def test_scratch_memory_is_handed_out_again():
    workspace = Workspace()
    first = workspace.scratch_like(torch.ones(3, 4))
    smaller = workspace.scratch_like(torch.ones(2, 2))
    assert first.shape == (3, 4)
    assert smaller.shape == (2, 2)
    assert smaller.data_ptr() == first.data_ptr()
    assert workspace.scratch_like(torch.ones(3, 4)).data_ptr() == first.data_ptr()
    other = workspace.scratch_like(torch.ones(2, 2, dtype=torch.float64))
    assert other.dtype == torch.float64
    assert other.data_ptr() != first.data_ptr()


def test_smaller_scratch_memory_is_let_go_of():
    workspace = Workspace()
    smaller = weakref.ref(workspace.scratch_like(torch.ones(3, 4)).untyped_storage())
    larger = workspace.scratch_like(torch.ones(30, 4))
    assert workspace.scratch_like(torch.ones(3, 4)).data_ptr() == larger.data_ptr()
    assert smaller() is None


def test_scratch_memory_of_many_shapes_is_one():
    workspace = Workspace()
    whole = workspace.scratch_like(torch.ones(1000))
    found = {workspace.scratch_like(torch.ones(size)).data_ptr() for size in range(1, 1000)}
    assert found == {whole.data_ptr()}
    assert len(workspace._views) < 100
