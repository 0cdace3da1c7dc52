"""What a training loop forgets is refused in a sentence before the step, or told in the log."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from mtl_methods import ModelClosure, compose, list_methods, make_method, method_info
from mtl_methods.core import method as method_module
from mtl_methods.errors import ConfigurationError, MissingNeedError, TaskError
from mtl_methods.testing import network_stage

BATCH = {"a": torch.tensor(1.0), "b": torch.tensor(1.0)}


class Model(nn.Module):
    def __init__(self, trunk=None):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(3, 4) if trunk is None else trunk
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)})

    def forward(self, inputs):
        features = torch.tanh(self.trunk(inputs))
        return {task: head(features) for task, head in self.heads.items()}


def losses_of(outputs):
    return {task: (1.0 + output).square().mean() for task, output in outputs.items()}


def served(model, inputs, **changes):
    closure = ModelClosure(
        model, lambda run, batch: losses_of(run(batch)), train=inputs, validation=inputs.flip(0)
    )
    parts = {"closure": closure, "named_parameters": closure.named_parameters, "lr": 0.1}
    return {**parts, **changes}


def bilevel_step(method, model, inputs=None, **changes):
    inputs = torch.randn(6, 3) if inputs is None else inputs
    extra = served(model, inputs, **changes)
    method.backward(losses_of(model(inputs)), model.trunk.parameters(), **extra)


# ------------------------------------------------------------------ further batches


@pytest.mark.parametrize("name", ["modo", "sdmgrad", "uw+modo", "log+sdmgrad"])
@pytest.mark.parametrize(
    ("given", "got"),
    [
        (BATCH, "got dict"),
        ([BATCH], "got 1"),
        ([BATCH, BATCH, BATCH], "got 3"),
        (["a", "b"], "holds a str"),
        ([BATCH, torch.ones(2)], "holds a Tensor"),
        (None, "got none"),
    ],
)
def test_further_batches_are_two_mappings(name, given, got):
    shared = torch.ones(2, requires_grad=True)
    losses = {"a": shared.sum(), "b": shared.square().sum()}
    method = make_method(name)
    with pytest.raises(MissingNeedError, match=f"needs extra_losses=.*2 further batches.*{got}"):
        method.backward(losses, [shared], extra_losses=given)
    assert shared.grad is None
    assert method.tasks == ()


# ------------------------------------------------------------------------- closures

BILEVEL = ("moml", "auto_lambda", "forum", "log+moml")


def ignores(model, inputs):
    return lambda parameters, split: losses_of(model(inputs))


@pytest.mark.parametrize("name", [*BILEVEL, "ldc_mtl"])
def test_a_closure_that_ignores_its_parameters(name):
    options = {"loop": "double"} if name == "ldc_mtl" else {}
    model, inputs = Model(), torch.randn(6, 3)
    method = make_method(name, **options)
    with pytest.raises(TaskError, match="do not depend on the parameters"):
        bilevel_step(method, model, inputs, closure=ignores(model, inputs))
    assert all(p.grad is None for p in (*model.parameters(), *method.parameters()))


@pytest.mark.parametrize("way", ["exact", "finite_difference"])
@pytest.mark.parametrize("name", ["moml", "auto_lambda"])
def test_a_closure_that_ignores_its_parameters_for_one_split(name, way):
    model, inputs = Model(), torch.randn(6, 3)
    sound = served(model, inputs)["closure"]
    wrong = ignores(model, inputs)
    for deaf in ("train", "validation"):
        method = make_method(name, hypergradient=way)
        with pytest.raises(TaskError, match="losses of the closure do not depend"):
            bilevel_step(
                method,
                model,
                inputs,
                closure=lambda p, split, deaf=deaf: (wrong if split == deaf else sound)(p, split),
            )


@pytest.mark.parametrize("name", BILEVEL)
def test_a_closure_without_gradients(name):
    model, inputs = Model(), torch.randn(6, 3)
    sound = served(model, inputs)["closure"]
    with pytest.raises(TaskError, match="with gradients on"):
        bilevel_step(make_method(name), model, inputs, closure=torch.no_grad()(sound))


@pytest.mark.parametrize("name", BILEVEL)
@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"closure": None}, MissingNeedError, "needs closure=.*got none"),
        ({"closure": 3}, MissingNeedError, "needs closure=.*got int"),
        ({"closure": lambda parameters: {}}, MissingNeedError, "must take two arguments"),
        ({"closure": lambda p, split: None}, TaskError, "must return a mapping.*got NoneType"),
        ({"closure": lambda p, split: [1.0, 2.0]}, TaskError, "must return a mapping.*got list"),
        ({"lr": None}, MissingNeedError, "needs lr="),
        ({"lr": "x"}, ConfigurationError, "lr must be a finite number >= 0, got 'x'"),
        ({"lr": float("nan")}, ConfigurationError, "lr must be a finite number"),
        ({"named_parameters": None}, MissingNeedError, "named_parameters=.*got none"),
        ({"named_parameters": [torch.ones(2)]}, MissingNeedError, "dict.model.*got a list"),
        ({"named_parameters": {"a": 1.0}}, MissingNeedError, "holds something else"),
        ({"named_parameters": {}}, TaskError, "no trainable parameter"),
    ],
)
def test_arguments_of_bilevel_methods(name, changes, error, match):
    model = Model()
    with pytest.raises(error, match=match):
        bilevel_step(make_method(name), model, **changes)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["moml", "auto_lambda", "forum"])
def test_losses_of_a_closure_are_scalars(name):
    model = Model()
    for wrong in (torch.ones(2), 1.0):
        with pytest.raises(TaskError, match="the loss of task 'a' as a scalar tensor"):
            bilevel_step(
                make_method(name), model, closure=lambda p, split, w=wrong: {"a": w, "b": w}
            )


def test_a_generator_of_names_is_no_mapping():
    model = Model()
    with pytest.raises(MissingNeedError, match="got a generator"):
        bilevel_step(make_method("moml"), model, named_parameters=model.named_parameters())


# ------------------------------------------------ models without a second derivative


class Bag(nn.Module):
    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding

    def forward(self, inputs):
        found = self.embedding(inputs)
        return found if found.dim() == 2 else found.mean(1)


WORDS = torch.tensor([[0, 1, 2], [3, 4, 0], [2, 2, 5]])


@pytest.mark.parametrize("name", ["moml", "auto_lambda", "log+moml"])
def test_a_trunk_that_is_not_twice_differentiable(name):
    model = Model(Bag(nn.EmbeddingBag(6, 4)))
    with pytest.raises(ConfigurationError, match="hypergradient='finite_difference'") as caught:
        bilevel_step(make_method(name), model, WORDS)
    assert "\n" not in str(caught.value)
    near = make_method(name, hypergradient="finite_difference")
    bilevel_step(near, model, WORDS)
    assert bool(near.parameters()[0].grad.abs().sum() > 0.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [("forum", {"rho": 10.0}), ("auto_lambda", {"hypergradient": "finite_difference"})],
)
def test_sparse_gradients_of_embeddings(name, options):
    gradients = []
    for sparse in (False, True):
        torch.manual_seed(1)
        model = Model(Bag(nn.Embedding(6, 4, sparse=sparse)))
        method = make_method(name, **options)
        bilevel_step(method, model, WORDS)
        own = method.parameters()[0].grad
        gradients.append([model.trunk.embedding.weight.grad.to_dense(), own])
    for plain, found in zip(*gradients, strict=True):
        assert torch.allclose(plain, found, rtol=1e-4, atol=1e-7)
        assert bool(found.any())


# --------------------------------------------------------------- epochs that never end


@pytest.fixture
def few_steps(monkeypatch, caplog):
    monkeypatch.setattr(method_module, "_LONG", 5)
    caplog.set_level(logging.WARNING, logger="mtl_methods")
    return lambda: caplog.text.count("no epoch has ended")


def train(method, steps, *, epochs=False):
    stage = network_stage(3)
    stage.setup(method)
    for number in range(steps):
        features, losses = stage.forward(stage.parameters, number)
        extra = stage.served(method, features, stage.tasks, number)
        method.backward(losses, stage.shared.values(), **extra)
        if epochs and number == 2:
            one = dict.fromkeys(stage.tasks, 1.0)
            method.end_epoch(epoch=0, train_losses=one, performance_drops=one)


AWAITING = [
    ("dwa", {}),
    ("pivrg", {}),
    ("pivrg_weights", {}),
    ("stch", {"form": "log_nadir"}),
    ("forum", {"average": "epochs"}),
    ("gradnorm", {"initial_loss": "first_epoch"}),
    ("dwa+cagrad", {}),
    ("log+dwa", {}),
    ("rlw+pivrg", {}),
]


@pytest.mark.parametrize(("name", "options"), AWAITING, ids=lambda part: str(part)[:40])
def test_one_warning_where_no_epoch_ends(name, options, few_steps):
    method = make_method(name, **options)
    assert method.awaits_epoch
    train(method, 4)
    assert few_steps() == 0
    train(method, 12)
    assert few_steps() == 1
    told = make_method(name, **options)
    train(told, 12, epochs=True)
    assert not told.awaits_epoch
    assert few_steps() == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [("dwa", {"level": "iterations"}), ("stch", {}), ("fairgrad", {}), ("uw", {}), ("log+ls", {})],
    ids=lambda part: str(part)[:40],
)
def test_no_warning_where_none_is_waited_for(name, options, few_steps):
    method = make_method(name, **options)
    train(method, 12)
    assert not method.awaits_epoch
    assert few_steps() == 0


def test_a_restored_method_knows_that_an_epoch_has_ended(few_steps):
    first, second = make_method("dwa"), make_method("dwa")
    train(first, 4, epochs=True)
    second.load_state_dict(first.state_dict())
    train(second, 12)
    assert few_steps() == 0


def test_a_method_says_by_default_whether_it_waits():
    waiting = {name for name, info in list_methods().items() if info.awaits_epoch}
    assert waiting == {"dwa", "pivrg", "pivrg_weights"}
    assert method_info("dwa+cagrad").awaits_epoch
    assert not method_info("uw+cagrad").awaits_epoch


def test_needs_are_asked_for_before_anything_is_set_up():
    shared = torch.ones(2, requires_grad=True)
    for method in (make_method("rotograd"), compose("uw", "rotograd")):
        with pytest.raises(MissingNeedError, match="needs features="):
            method.backward({"a": shared.sum()}, [shared])
        assert method.tasks == ()
