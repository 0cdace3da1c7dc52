"""Validation batches of methods come from training items that are not trained on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_methods.errors import ConfigurationError
from trainables.epoch_statistics import EpochStatistics
from trainables.inner_validation import InnerStep, InnerValidation
from trainables.model import MTLModel
from trainables.training import Trainer


@pytest.fixture
def start(make_spec, data):
    def make(*args, **kwargs):
        spec = make_spec(*args, **kwargs)
        return Trainer(spec, data.tensors(spec.make_problem()))

    return make


class Numbers:
    """A problem whose items are their own indices."""

    name = "numbers"

    def make_batch(self, split, index):
        return {name: values[index] for name, values in split.items()}


def hold_out(count, fraction, *, seed=0, batch_size=8):
    split = {"image": torch.arange(count)}
    return InnerValidation(Numbers(), split, fraction, batch_size=batch_size, seed=seed)


# --------------------------------------------------------------- what is held out


@pytest.mark.parametrize(
    ("count", "fraction", "held"), [(100, 0.1, 10), (100, 0.25, 25), (3, 0.01, 1), (3, 0.99, 2)]
)
def test_kept_and_held_are_all_items_once(count, fraction, held):
    inner = hold_out(count, fraction)
    assert len(inner.held) == held
    assert sorted([*inner.held.tolist(), *inner.kept.tolist()]) == list(range(count))


def test_the_holdout_depends_on_the_seed_and_grows_with_the_fraction():
    assert torch.equal(hold_out(100, 0.2, seed=1).held, hold_out(100, 0.2, seed=1).held)
    assert not torch.equal(hold_out(100, 0.2, seed=1).held, hold_out(100, 0.2, seed=2).held)
    assert set(hold_out(100, 0.1).held.tolist()) < set(hold_out(100, 0.2).held.tolist())


def test_a_single_item_cannot_be_split():
    with pytest.raises(ConfigurationError, match="numbers has 1 training items"):
        hold_out(1, 0.5)


def test_batches_are_of_different_held_items_and_reach_all():
    inner = hold_out(100, 0.2, batch_size=8)
    model = nn.Linear(1, 1)
    seen = set()
    for _ in range(30):
        step = inner.begin_step(model, {})
        items = step._batches["validation"][0]["image"].tolist()
        assert len(set(items)) == len(items) == 8
        seen.update(items)
    assert seen == set(inner.held.tolist())
    few = hold_out(100, 0.05, batch_size=8).begin_step(model, {})
    assert len(few._batches["validation"][0]["image"]) == 5


@pytest.mark.parametrize("name", ["fake_bilevel", "auto_lambda+sdmgrad"])
def test_nothing_held_out_is_trained_on_and_no_other_split_is_read(name, start, monkeypatch):
    trainer = start(name, epochs=1, batch_size=50, hyperparameters={})
    problem, inner, splits = trainer.problem, trainer._inner, trainer._data
    held, kept = set(inner.held.tolist()), set(inner.kept.tolist())
    assert (len(held), len(kept)) == (32, 288)
    make_batch, validation, train = problem.make_batch, [], []

    def spy(split, index):
        assert split is splits["train"]
        items = index.tolist()
        assert set(items) <= held or set(items) <= kept
        (validation if set(items) <= held else train).append(items)
        return make_batch(split, index)

    monkeypatch.setattr(problem, "make_batch", spy)
    with trainer._random.active():
        trainer._train(EpochStatistics(trainer._tasks))
    assert len(validation) == 6
    assert {item for items in train for item in items} == kept
    if name == "fake_bilevel":
        assert sum(map(len, train)) == len(kept)


def test_methods_without_the_need_keep_all_items(start):
    assert start("ls")._inner is None


# ------------------------------------------------------------------- the closure


def test_the_closure_repeats_the_step_with_its_noise(start):
    trainer = start("fake_bilevel", dropout=0.4, epochs=1)
    trainer.run_epoch()
    seen = trainer.method.seen
    assert len(seen["closure"]) == len(seen["backward"]) == 5
    for found, (losses, *_) in zip(seen["closure"], seen["backward"], strict=True):
        assert found["train"] == [losses, losses]
        assert found["validation"][0] == found["validation"][1]
        assert found["validation"][0] != losses
    batches = [found["validation"][0]["CL"] for found in seen["closure"]]
    assert len(set(batches)) == 5


def test_to_use_the_closure_changes_nothing_of_the_training(start):
    one = start("fake_bilevel", dropout=0.4, epochs=1)
    other = start("fake_quiet_bilevel", dropout=0.4, epochs=1)
    for trainer in (one, other):
        trainer.run_epoch()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_named_parameters_are_the_live_ones_and_lr_is_the_current_one(start):
    trainer = start("fake_bilevel", epochs=2, schedule={"name": "exponential", "gamma": 0.5})
    trainer.run_epoch()
    trainer.run_epoch()
    extras = [extra for *_, extra in trainer.method.seen["backward"]]
    assert [extra["lr"] for extra in extras] == [2.5e-3] * 5 + [1.25e-3] * 5
    live = dict(trainer.model.named_parameters())
    given = extras[0]["named_parameters"]
    assert list(given) == list(live)
    assert all(given[name] is live[name] for name in live)


class Regression:
    def losses(self, outputs, batch):
        return {
            task: (output - batch["target"]).square().mean() for task, output in outputs.items()
        }


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(16, 4, generator=generator),
        "target": torch.randn(16, 1, generator=generator),
    }


def test_other_parameters_leave_the_model_alone():
    """Running statistics, gradients and generators too; the graph leads to the parameters."""
    torch.manual_seed(0)
    shared = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
    model = MTLModel(shared, {"a": nn.Linear(6, 1)}, feature_dim=6)
    model(batch(0))  # running statistics are no longer the initial ones
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    step = InnerStep(Regression(), model, batch(1), batch(2), seed=3)
    moved = {
        name: (value.detach() + 0.1).requires_grad_() for name, value in model.named_parameters()
    }
    for split in ("train", "validation"):
        losses = step.losses(moved, split)
        assert torch.equal(losses["a"], step.losses(moved, split)["a"])
        gradients = torch.autograd.grad(losses["a"], list(moved.values()), create_graph=True)
        torch.autograd.grad(gradients[0].square().sum(), list(moved.values()), allow_unused=True)
    assert torch.equal(state, torch.get_rng_state())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())

    # The same as with the parameters written into the model.
    found = step.losses(moved, "train")["a"].item()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(moved[name])
    assert Regression().losses(model(batch(1))[1], batch(1))["a"].item() == found
    with pytest.raises(ConfigurationError, match="no split 'test'; valid: train, validation"):
        step.losses(moved, "test")


# ------------------------------------------------------------- the specification


def test_the_fraction_is_part_of_the_trial_where_it_matters(make_spec):
    assert make_spec("ls").training.inner_validation is None
    assert make_spec("ls", inner_validation=0.3).trial_id == make_spec("ls").trial_id
    assert make_spec("ldc_mtl").training.inner_validation is None
    for name, hyperparameters in (("moml", {}), ("ldc_mtl", {"loop": "double"})):
        spec = make_spec(name, hyperparameters=hyperparameters)
        assert spec.to_dict()["training"]["inner_validation"] == 0.1
        other = make_spec(name, hyperparameters=hyperparameters, inner_validation=0.3)
        assert other.trial_id != spec.trial_id


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, "half"])
def test_a_fraction_out_of_range_is_refused(make_spec, fraction):
    with pytest.raises(ConfigurationError, match="inner_validation"):
        make_spec("moml", inner_validation=fraction)


def test_a_method_in_need_cannot_do_without(make_spec):
    with pytest.raises(ConfigurationError, match=r"moml needs validation batches.*not null"):
        make_spec("moml", inner_validation=None)
