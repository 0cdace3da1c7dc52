from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.bilevel import ModelClosure
from mtl_methods.errors import ConfigurationError


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3))
        self.heads = nn.ModuleDict({"a": nn.Linear(8, 1), "b": nn.Linear(8, 1)})

    def forward(self, inputs):
        features = self.shared(inputs)
        return {task: head(features).squeeze(1) for task, head in self.heads.items()}


def losses(run, batch):
    inputs, targets = batch
    outputs = run(inputs)
    return {task: ((outputs[task] - targets[task]) ** 2).mean() for task in outputs}


@pytest.fixture
def world():
    torch.manual_seed(0)
    model = Model()
    inputs = torch.randn(2, 16, 4)
    batches = [(x, {"a": x.sum(1), "b": 3.0 * x[:, 0] * x[:, 1]}) for x in inputs]
    return model, batches, ModelClosure(model, losses, train=batches[0], validation=batches[1])


def test_calls_repeat_and_leave_model_and_generators_alone(world):
    model, _, closure = world
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first = closure(closure.named_parameters, "train")
    second = closure({}, "train")
    assert {task: loss.item() for task, loss in first.items()} == {
        task: loss.item() for task, loss in second.items()
    }
    assert first["a"].item() != closure({}, "validation")["a"].item()
    assert torch.equal(state, torch.get_rng_state())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_first_call_after_making_it_draws_what_the_model_draws(world):
    model, (train, validation), _ = world
    state = torch.get_rng_state()
    closure = ModelClosure(model, losses, train=train, validation=validation)
    wanted = {task: loss.item() for task, loss in losses(copy.deepcopy(model), train).items()}
    assert {task: loss.item() for task, loss in closure({}, "train").items()} == wanted
    torch.set_rng_state(state)


def test_given_parameters_take_the_place_of_the_models(world):
    model, _, closure = world
    zeros = {name: torch.zeros_like(p) for name, p in closure.named_parameters.items()}
    targets = world[1][0][1]
    expected = float((targets["a"] ** 2).mean())
    assert closure(zeros, "train")["a"].item() == pytest.approx(expected)
    assert any(bool(p.any()) for p in model.parameters())


def test_frozen_parameters_are_not_named(world):
    model, _, closure = world
    model.heads["a"].bias.requires_grad_(False)
    assert "heads.a.bias" not in closure.named_parameters
    assert "heads.b.bias" in closure.named_parameters


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("auto_lambda", {}),
        ("auto_lambda", {"hypergradient": "finite_difference"}),
        ("moml", {"inner_steps": 2}),
        ("forum", {}),
        ("ldc_mtl", {"loop": "double", "inner_steps": 3}),
    ],
)
def test_training_with_batch_norm_and_dropout(world, name, options):
    model, (train, validation), _ = world
    method = make_method(name, **options)
    method.setup(("a", "b"))
    optimizer = torch.optim.Adam([*model.parameters(), *method.parameters()], lr=0.02)
    trace = []
    for _ in range(25):
        closure = ModelClosure(model, losses, train=train, validation=validation)
        found = losses(model, train)
        optimizer.zero_grad()
        method.backward(
            found,
            model.shared.parameters(),
            closure=closure,
            named_parameters=closure.named_parameters,
            lr=0.02,
        )
        optimizer.step()
        trace.append(sum(loss.item() for loss in found.values()))
    assert sum(trace[-5:]) < sum(trace[:5])
    assert bool(method.parameters()[0].detach().std() > 0.0)


def test_unknown_split_is_refused(world):
    with pytest.raises(ConfigurationError, match="'test'"):
        world[2]({}, "test")
