from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch

from mtl_methods import Need, StepRecord
from mtl_methods.errors import ConfigurationError
from trainables.data import DataCache
from trainables.divergence import suspect
from trainables.epoch_statistics import EpochStatistics
from trainables.errors import DivergedError
from trainables.evaluation import evaluate
from trainables.needs import SERVED_NEEDS
from trainables.problems.multi_digits import MultiDigits
from trainables.selection import metric_drops, task_drops
from trainables.training import Trainer


@pytest.fixture
def start(make_spec, data):
    def begin(*args, **kwargs):
        spec = make_spec(*args, **kwargs)
        return Trainer(spec, data.tensors(spec.make_problem()))

    return begin


def train(trainer):
    while not trainer.complete:
        trainer.run_epoch()
    return trainer


# ------------------------------------------------------------------ rows


def test_rows_and_learning(start):
    trainer = train(
        start(
            "ls",
            epochs=6,
            batch_size=16,
            lr=5e-3,
            schedule={"name": "exponential", "gamma": 0.8},
        )
    )
    first, last = trainer.rows[0], trainer.rows[-1]
    assert [row["epoch"] for row in trainer.rows] == [1, 2, 3, 4, 5, 6]
    assert set(first) == {
        *("epoch", "lr", "train_seconds", "solve_seconds", "grad_norm", "selection"),
        *("train_loss.CL", "train_loss.RR", "validation_loss.CL", "validation_loss.RR"),
        *("validation.CL.accuracy", "validation.RR.mse", "weight.CL", "weight.RR"),
        *("validation.delta_mtm", "validation.delta_m"),
    }
    assert [row["lr"] for row in trainer.rows] == pytest.approx([5e-3 * 0.8**e for e in range(6)])
    assert last["train_loss.CL"] < 0.7 * first["train_loss.CL"]
    assert last["train_loss.RR"] < 0.8 * first["train_loss.RR"]
    assert last["validation.CL.accuracy"] > 0.3
    assert first["weight.CL"] == first["weight.RR"] == 1.0
    assert last["selection"] == last["validation.delta_mtm"]


def test_gradient_methods_report_geometry(start):
    row = start("fairgrad", epochs=1).run_epoch()
    assert -1.0 <= row["grad_cosine"] <= 1.0
    assert row["grad_norm.CL"] > 0
    assert row["grad_norm.RR"] > 0
    assert 0.0 < row["solve_seconds"] < row["train_seconds"]


def test_best_epoch_is_the_first_best_and_its_parameters_are_kept(start, monkeypatch):
    trainer = start("ls", epochs=4)
    selections = iter([1.0, 3.0, 3.0, 2.0])
    monkeypatch.setattr("trainables.training.selection_value", lambda *_: next(selections))
    states = []
    while not trainer.complete:
        trainer.run_epoch()
        states.append({name: v.clone() for name, v in trainer.model.state_dict().items()})
    assert trainer.best_epoch == 2
    assert trainer.best_row is trainer.rows[1]
    trainer.load_best()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, states[1][name])
    assert set(trainer.evaluate_test()) == {"CL", "RR"}


def test_single_task_training_reports_its_task_alone(start):
    trainer = train(start("stl", hyperparameters={"task": "RR"}, reference=None, epochs=2))
    for row in trainer.rows:
        assert row["selection"] == -row["validation.RR.mse"]
        assert "validation.CL.accuracy" not in row
        assert "validation.delta_mtm" not in row
        assert (row["weight.CL"], row["weight.RR"]) == (0.0, 1.0)
    assert list(trainer.evaluate_test()) == ["RR"]


def test_several_tasks_without_reference(start):
    with pytest.raises(ConfigurationError, match="needs a single-task reference"):
        start("ls", reference=None).run_epoch()
    row = start("ls", reference=None, selection="loss").run_epoch()
    assert row["selection"] == -(row["validation_loss.CL"] + row["validation_loss.RR"])


def test_unequal_weights_are_those_given(start):
    row = start("ls", hyperparameters={"weights": {"CL": 0.25, "RR": 1.75}}).run_epoch()
    assert (row["weight.CL"], row["weight.RR"]) == (0.25, 1.75)


# --------------------------------------------------------------- same start


def test_trials_of_one_seed_start_alike_and_see_the_same_batches(start):
    """The comparison of methods is paired: only the seed decides, not the method."""
    one, other = start("fake_recorder", seed=5), start("fake_after_step", seed=5)
    third = start("fake_recorder", seed=6)
    for trainer in (one, other, third):
        trainer.run_epoch()
    first = [t.method.seen["backward"][0][0] for t in (one, other, third)]
    assert first[0] == first[1] != first[2]
    # Asking for the losses after the step changes nothing of the training, dropout or not.
    one, other = start("fake_recorder", dropout=0.3), start("fake_after_step", dropout=0.3)
    for trainer in (one, other):
        trainer.run_epoch()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


def test_every_item_is_seen_once_per_epoch_in_another_order(start, monkeypatch):
    seen = []
    make_batch = MultiDigits.make_batch

    def spy(self, split, index):
        if len(split["CL"]) == 320:
            seen.append(index.tolist())
        return make_batch(self, split, index)

    monkeypatch.setattr(MultiDigits, "make_batch", spy)
    train(start("ls", epochs=2, batch_size=100))
    assert [len(batch) for batch in seen] == [100, 100, 100, 20] * 2
    first, second = ([item for batch in part for item in batch] for part in (seen[:4], seen[4:]))
    assert sorted(first) == sorted(second) == list(range(320))
    assert first != second


# -------------------------------------------------------------------- needs


def test_nothing_is_served_that_is_not_needed(start):
    trainer = train(start("fake_recorder", epochs=2))
    seen = trainer.method.seen
    assert len(seen["backward"]) == 10
    assert seen["after_step"] == []
    for _, shared, features, extra in seen["backward"]:
        assert features is None
        assert extra == {}
        assert {id(p) for p in shared} == {id(p) for p in trainer.model.shared.parameters()}
    assert [epoch for epoch, _, _ in seen["end_epoch"]] == [0, 1]
    for (_, losses, drops), row in zip(seen["end_epoch"], trainer.rows, strict=True):
        assert losses == {task: row[f"train_loss.{task}"] for task in ("CL", "RR")}
        assert drops is None


def test_losses_after_the_step_are_of_the_same_batch_with_the_same_noise(start):
    trainer = start("fake_after_step", dropout=0.4, epochs=1)
    trainer._optimizer.param_groups[0]["lr"] = 0.0  # nothing moves
    trainer.run_epoch()
    seen = trainer.method.seen
    assert len(seen["after_step"]) == len(seen["backward"])
    for (before, *_), after in zip(seen["backward"], seen["after_step"], strict=True):
        assert {task: loss for task, (loss, _) in after.items()} == before
        assert not any(graph for _, graph in after.values())


def test_losses_after_the_step_are_after_the_step(start):
    trainer = start("fake_after_step", epochs=1)
    trainer.run_epoch()
    seen = trainer.method.seen
    before = sum(losses["RR"] for losses, *_ in seen["backward"])
    after = sum(losses["RR"][0] for losses in seen["after_step"])
    assert after < before


def test_features_are_served(start):
    trainer = start("fake_features", epochs=1)
    trainer.run_epoch()
    features = trainer.method.seen["backward"][0][2]
    assert features.shape == (64, trainer.model.feature_dim)
    assert features.grad_fn is not None
    assert trainer.method.feature_dim == trainer.model.feature_dim


@pytest.mark.parametrize("name", ["modo", "rlw+sdmgrad"])
def test_extra_batches_are_served(start, monkeypatch, name):
    """As many as the method wants, of other items, and the batches of the epoch stay the same."""
    trainer, plain = start(name, epochs=1, batch_size=16), start("ls", epochs=1, batch_size=16)
    seen = {}
    for key, subject in (("extra", trainer), ("plain", plain)):
        make = subject.problem.make_batch
        rows = seen[key] = []

        def record(split, index, make=make, rows=rows):
            rows.append(index.clone())
            return make(split, index)

        monkeypatch.setattr(subject.problem, "make_batch", record)
        with subject._random.active():
            subject._train(EpochStatistics(subject._tasks))
    assert len(seen["extra"]) == 3 * len(seen["plain"])
    for step, batch in enumerate(seen["plain"]):
        own, first, second = seen["extra"][3 * step : 3 * step + 3]
        assert torch.equal(own, batch)
        assert len(first) == len(second) == 16
        assert not torch.equal(first, second)


def test_heads_read_features_through_the_method(start):
    """In training, in evaluation, and with the rotations of the best epoch at the test."""
    trainer = train(start("rotograd", epochs=3, batch_size=16, lr=5e-3, method_lr=0.05))
    (own,) = trainer.method.parameters()
    assert own.abs().max() > 1e-3
    best = trainer.best_row
    assert best is not None
    trainer.load_best()
    losses, _ = evaluate(
        trainer.problem, trainer.model, trainer._data["validation"], trainer._metrics
    )
    assert losses["CL"] == pytest.approx(best["validation_loss.CL"])
    with torch.no_grad():
        own += 0.5
    turned, _ = evaluate(
        trainer.problem, trainer.model, trainer._data["validation"], trainer._metrics
    )
    assert turned["CL"] != pytest.approx(best["validation_loss.CL"], rel=1e-5)


def test_performance_drops_are_served(start):
    trainer = start("fake_drops", epochs=2)
    train(trainer)
    for (_, _, drops), row in zip(trainer.method.seen["end_epoch"], trainer.rows, strict=True):
        values = {
            "CL": {"accuracy": row["validation.CL.accuracy"]},
            "RR": {"mse": row["validation.RR.mse"]},
        }
        expected = task_drops(metric_drops(trainer.problem.tasks, values, trainer.spec.reference))
        assert drops == expected
        assert -sum(drops.values()) / 2 == pytest.approx(row["validation.delta_mtm"])


def test_drops_need_a_reference(start):
    with pytest.raises(ConfigurationError, match="fake_drops needs performance drops"):
        start("fake_drops", reference=None, selection="loss")


def test_a_need_that_cannot_be_served_is_named(start, monkeypatch):
    monkeypatch.setattr(
        "trainables.needs.SERVED_NEEDS", SERVED_NEEDS - {Need.VALIDATION_BATCH, Need.FEATURES}
    )
    with pytest.raises(
        ConfigurationError, match=r"fake_bilevel needs validation batch .*does not serve"
    ):
        start("fake_bilevel")


def test_deep_heads_are_no_linear_ones(start):
    with pytest.raises(ConfigurationError, match=r"bayes_agg needs heads of one linear.*CL"):
        start("bayes_agg")


def test_own_parameters_are_trained_with_their_own_rate(start, caplog):
    caplog.set_level(logging.WARNING)
    trainer = start("uw", method_lr=0.1, epochs=1)
    trainer.run_epoch()
    moved = torch.cat([p.detach().flatten() for p in trainer.method.parameters()])
    assert (moved.abs() > 0.1).all()  # five steps of Adam of about 0.1 each
    assert "optimiser" not in caplog.text
    still = start("uw", method_lr=0.0, epochs=1)
    still.run_epoch()
    assert not any(p.any() for p in still.method.parameters())


def test_events_are_counted_per_epoch_and_in_total(start):
    trainer = train(start("fake_stateful", epochs=3))
    per_epoch = [row.get("event.large_noise", 0) for row in trainer.rows]
    assert (
        sum(per_epoch) == trainer.counters["large_noise"] == trainer.method.counters["large_noise"]
    )
    assert 0 < sum(per_epoch) < 15
    # Events at the end of an epoch belong to that epoch.
    assert [row["event.epoch_ended"] for row in trainer.rows] == [1, 1, 1]
    assert trainer.counters["epoch_ended"] == 3


# ----------------------------------------------------------------- clipping


def test_clipping_is_off_by_default_uniform_and_logged(start):
    free = start("ls", epochs=1).run_epoch()
    assert "grad_norm_clipped" not in free
    never = start("ls", epochs=1, clip_grad_norm=1e6).run_epoch()
    assert never["grad_norm_clipped"] == 0.0
    assert never["train_loss.CL"] == free["train_loss.CL"]
    trainer = start("ls", epochs=1, clip_grad_norm=1e-3, optimizer="sgd", lr=1.0, momentum=0.0)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    row = trainer.run_epoch()
    assert row["grad_norm_clipped"] == 1.0
    assert row["grad_norm"] > 1e-3  # the norm before clipping
    moved = math.sqrt(
        sum(
            float((p.detach() - old).square().sum())
            for p, old in zip(trainer.model.parameters(), before, strict=True)
        )
    )
    assert 0.0 < moved <= 5 * 1e-3 * 1.001


# --------------------------------------------------------------- divergence


def spoil(monkeypatch, *, task, at_call, value):
    """Makes the training loss of a task ``value`` at a call of the problem's losses."""
    original = MultiDigits.losses
    calls = iter(range(1, 10_000))

    def losses(self, outputs, batch):
        found = original(self, outputs, batch)
        if next(calls) == at_call:
            found[task] = found[task] * value
        return found

    monkeypatch.setattr(MultiDigits, "losses", losses)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(start, monkeypatch, value):
    trainer = start("ls", batch_size=100)
    # Four training batches and one of validation an epoch: call 8 is epoch 2, step 3.
    spoil(monkeypatch, task="RR", at_call=8, value=value)
    trainer.run_epoch()
    with pytest.raises(DivergedError) as caught:
        trainer.run_epoch()
    error = caught.value
    assert (error.kind, error.task, error.epoch, error.step) == ("loss", "RR", 2, 3)
    assert "task 'RR'" in str(error)
    assert "epoch 2, step 3" in str(error)
    assert len(trainer.rows) == 1


def test_a_validation_loss_that_is_not_finite(start, monkeypatch):
    trainer = start("ls", batch_size=100)
    spoil(monkeypatch, task="CL", at_call=5, value=math.nan)
    with pytest.raises(DivergedError) as caught:
        trainer.run_epoch()
    error = caught.value
    assert (error.kind, error.task, error.epoch, error.step) == ("validation", "CL", 1, 4)


def test_a_gradient_that_is_not_finite_though_losses_are(start, monkeypatch):
    trainer = start("ls")
    first = next(trainer.model.parameters())
    first.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(DivergedError) as caught:
        trainer.run_epoch()
    error = caught.value
    # The shared part is spoiled after all losses came together: no task is to blame.
    assert (error.kind, error.task, error.epoch, error.step) == ("gradient", None, 1, 1)


@pytest.mark.parametrize("task", ["CL", "RR"])
def test_a_gradient_that_one_head_spoils_names_its_task(start, task):
    trainer = start("ls")
    next(trainer.model.heads[task].parameters()).register_hook(lambda grad: grad * math.inf)
    with pytest.raises(DivergedError, match=f"only that of task '{task}'") as caught:
        trainer.run_epoch()
    assert (caught.value.kind, caught.value.task) == ("gradient", task)


def test_a_gradient_that_overflows_names_the_task_of_the_huge_loss(start, monkeypatch):
    trainer = start("ls", batch_size=100)
    # Finite in single precision, while the square of its gradient's norm is not.
    spoil(monkeypatch, task="RR", at_call=2, value=1e36)
    for parameter in trainer.model.shared_parameters():
        parameter.register_hook(lambda grad: grad * 1e12)
    with pytest.raises(DivergedError, match="'RR' has by far the largest weighted loss") as caught:
        trainer.run_epoch()
    assert (caught.value.task, caught.value.step) == ("RR", 2)


def blame(losses, **record):
    return suspect({}, losses, StepRecord(tasks=tuple(losses), **record))[0]


def test_the_task_to_blame_is_named_only_where_it_can_be_told():
    losses = {"a": 1.0, "b": 5.0, "c": 1.0}
    assert blame(losses) is None
    assert blame(losses | {"b": 50.0}) == "b"
    assert blame(losses | {"b": 50.0}, weights=torch.tensor([1.0, 0.0, 100.0])) == "c"
    assert blame(losses, weights=torch.tensor([1.0, math.nan, 1.0])) == "b"
    assert blame(losses, weights=torch.full((3,), math.nan)) is None
    assert blame(losses, gram=np.diag([400.0, 1.0, 1.0])) == "a"
    assert blame(losses, gram=np.diag([4.0, 1.0, math.inf])) == "c"
    assert blame({"a": 1.0}) == "a"


def test_a_parameter_that_is_not_finite(start, monkeypatch):
    trainer = start("ls", batch_size=320)
    step = trainer._optimizer.step

    def overflow():
        step()
        with torch.no_grad():
            trainer.model.heads["CL"][0].weight[0, 0] = math.inf

    monkeypatch.setattr(trainer._optimizer, "step", overflow)
    with pytest.raises(DivergedError, match=r"heads\.CL\.0\.weight is not finite") as caught:
        trainer.run_epoch()
    assert caught.value.step == 1


def test_a_huge_learning_rate_diverges(start):
    trainer = start("ls", optimizer="sgd", lr=1e3, epochs=3)
    with pytest.raises(DivergedError):
        train(trainer)


def test_divergence_survives_pickling():
    import pickle

    error = DivergedError("loss", "it is nan", task="CL", epoch=2, step=3)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert vars(again) == vars(error)


# --------------------------------------------------------------------- data


def test_tensors_are_made_once_over_the_arrays_memory(make_spec):
    problem = make_spec().make_problem()
    splits = problem.load()
    for arrays in splits.values():
        for array in arrays.values():
            array.setflags(write=False)  # as in Ray's object store
    cache = DataCache({problem.key: splits})
    tensors = cache.tensors(problem)
    assert tensors["train"]["image"].data_ptr() == splits["train"]["image"].ctypes.data
    assert cache.tensors(make_spec().make_problem()) is tensors
