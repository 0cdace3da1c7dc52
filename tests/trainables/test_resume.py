# ruff: noqa: NPY002  (the global generators are what is tested)
"""An interrupted and resumed trial is, on the CPU, the same to the last bit."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import trainables.session as session_module
from trainables.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from trainables.record import read_record, record_path
from trainables.session import TrialSession
from trainables.training import Trainer

TIMES = ("train_seconds", "solve_seconds")
# One of each kind of state; every registered method is in test_every_method.
METHODS = ["fake_stateful", "uw+fairgrad", "famo", "moco", "log+auto_lambda", "rlw+sdmgrad"]


def timeless(rows):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def run(trainer, epochs):
    while trainer.epoch < epochs:
        trainer.run_epoch()
    return trainer


@pytest.mark.parametrize("method", METHODS)
def test_resumed_is_identical(method, make_spec, data, tmp_path):
    spec = make_spec(
        method,
        epochs=4,
        dropout=0.3,
        schedule={"name": "plateau", "patience": 0},
        clip_grad_norm=2.0,
    )
    tensors = data.tensors(spec.make_problem())
    whole = run(Trainer(spec, tensors), 4)

    first = run(Trainer(spec, tensors), 2)
    path = tmp_path / "last.pt"
    save_checkpoint(path, first.state_dict())
    del first
    # Whatever the process did in between.
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    resumed = Trainer(spec, tensors)
    resumed.load_state_dict(load_checkpoint(path))
    run(resumed, 4)

    assert timeless(resumed.rows) == timeless(whole.rows)
    assert resumed.best_epoch == whole.best_epoch
    assert resumed.counters == whole.counters
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    whole.load_best()
    resumed.load_best()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["none", "exponential", "step", "cosine"])
def test_resumed_is_identical_with_every_optimizer_and_schedule(
    optimizer, schedule, make_spec, data, tmp_path
):
    spec = make_spec(optimizer=optimizer, schedule={"name": schedule}, epochs=3, weight_decay=1e-3)
    tensors = data.tensors(spec.make_problem())
    whole = run(Trainer(spec, tensors), 3)
    first = run(Trainer(spec, tensors), 1)
    save_checkpoint(tmp_path / "last.pt", first.state_dict())
    resumed = Trainer(spec, tensors)
    resumed.load_state_dict(load_checkpoint(tmp_path / "last.pt"))
    run(resumed, 3)
    assert timeless(resumed.rows) == timeless(whole.rows)


def test_a_killed_session_goes_on_from_its_checkpoint(make_spec, data, tmp_path):
    spec = make_spec("fake_stateful", epochs=4, evaluate_test=True)
    whole = TrialSession(spec, data).run()

    killed = TrialSession(spec, data, results_dir=tmp_path, checkpoint_every_s=0.0)
    killed.step()
    killed.step()
    del killed  # no goodbye

    other = TrialSession(spec, data, results_dir=tmp_path, checkpoint_every_s=1e9)
    result = other.step()
    assert result["epoch"] == 3
    record = other.run()
    for key in ("status", "best_epoch", "validation", "test", "counters", "spec"):
        assert record[key] == whole[key]
    assert timeless(record["epochs"]) == timeless(whole["epochs"])
    assert read_record(record_path(tmp_path, spec.trial_id)) == record
    assert not checkpoint_path(tmp_path, spec.trial_id).exists()


def test_checkpoints_come_at_most_so_often(make_spec, data, tmp_path):
    spec = make_spec()
    path = checkpoint_path(tmp_path, spec.trial_id)
    rare = TrialSession(spec, data, results_dir=tmp_path, checkpoint_every_s=1e9)
    rare.step()
    assert not path.exists()
    rare.close()  # but a session that is closed saves what it has
    assert load_checkpoint(path)["epoch"] == 1


def test_long_epochs_are_saved_as_they_end_if_that_costs_little(
    make_spec, data, tmp_path, monkeypatch
):
    spec = make_spec(epochs=4)
    path = checkpoint_path(tmp_path, spec.trial_id)
    monkeypatch.setattr(session_module, "_LONG_EPOCH_S", 0.0)
    monkeypatch.setattr(session_module, "_SAVING_SHARE", 0.0)
    session = TrialSession(spec, data, results_dir=tmp_path, checkpoint_every_s=1e9)
    session.step()
    assert load_checkpoint(path)["epoch"] == 1  # which tells what saving costs
    session.step()
    assert load_checkpoint(path)["epoch"] == 1  # too much
    monkeypatch.setattr(session_module, "_SAVING_SHARE", 1e9)
    session.step()
    assert load_checkpoint(path)["epoch"] == 3


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign"])
def test_a_corrupt_checkpoint_is_named_and_the_trial_starts_again(
    damage, make_spec, data, tmp_path, caplog
):
    spec = make_spec(epochs=2)
    session = TrialSession(spec, data, results_dir=tmp_path, checkpoint_every_s=0.0)
    session.step()
    path = checkpoint_path(tmp_path, spec.trial_id)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
    else:
        payload = load_checkpoint(path)
        payload["trial_id"] = "0" * 16
        save_checkpoint(path, payload)
    again = TrialSession(spec, data, results_dir=tmp_path)
    assert f"trial {spec.trial_id} starts again" in caplog.text
    assert again.step()["epoch"] == 1
    record = again.run()
    assert timeless(record["epochs"]) == timeless(TrialSession(spec, data).run()["epochs"])
