"""Models from results folders."""

from __future__ import annotations

import shutil

import pytest

from mtl_methods.errors import FairsweepError
from trainables.checkpoint import best_checkpoint_path, load_checkpoint, save_checkpoint
from trainables.errors import CheckpointNotKeptError, CorruptFileError
from trainables.evaluation import evaluate
from trainables.restore import restore_best
from trainables.run import run_trial


def run(spec, data, folder, **options):
    return run_trial(spec, data=data, results_dir=folder, **{"keep_best": True, **options})


# rotograd's heads read features through the method, whose rotations are trained.
@pytest.mark.parametrize("method", ["ls", "uw", "rotograd"])
def test_the_restored_model_is_the_one_of_the_best_epoch(
    method, make_spec, data, tmp_path, monkeypatch
):
    selections = iter([1.0, 5.0, 0.0])
    monkeypatch.setattr("trainables.training.selection_value", lambda *_: next(selections))
    spec = make_spec(method, epochs=3, dropout=0.2, batch_size=160)
    record = run(spec, data, tmp_path)
    assert record["best_epoch"] == 2
    restored = restore_best(tmp_path, spec.trial_id, data)
    problem = restored.problem
    losses, values = evaluate(
        problem, restored.model, restored.data["validation"], problem.make_metrics()
    )
    assert values["CL"]["accuracy"] == record["validation"]["CL.accuracy"]
    assert values["RR"]["mse"] == record["validation"]["RR.mse"]
    assert losses["CL"] == record["epochs"][1]["validation_loss.CL"]
    assert restored.tasks == ("CL", "RR")
    assert restored.spec.to_dict() == spec.to_dict()


def test_only_the_task_that_was_trained_counts(make_spec, data, tmp_path):
    spec = make_spec(
        "stl", hyperparameters={"task": "RR"}, reference=None, selection="loss", epochs=1
    )
    run(spec, data, tmp_path)
    assert restore_best(tmp_path, spec.trial_id, data).tasks == ("RR",)


def test_what_cannot_be_restored_is_said(make_spec, data, tmp_path):
    spec = make_spec(epochs=1)
    with pytest.raises(FairsweepError, match="has no trial 'abc'; it holds 0 trials"):
        restore_best(tmp_path, "abc")
    run(spec, data, tmp_path, keep_best=False)
    with pytest.raises(
        CheckpointNotKeptError, match=r"resources\.keep_checkpoints: best"
    ) as caught:
        restore_best(tmp_path, spec.trial_id, data)
    assert "not repeated" in str(caught.value)
    diverged = make_spec(epochs=1, lr=900.0, optimizer="sgd", seed=1)
    assert run(diverged, data, tmp_path)["status"] == "diverged"
    with pytest.raises(FairsweepError, match=f"{diverged.trial_id} diverged, so there are no"):
        restore_best(tmp_path, diverged.trial_id, data)


def test_damaged_checkpoints_are_told(make_spec, data, tmp_path):
    spec, other = make_spec(epochs=1), make_spec(epochs=1, seed=8)
    run(spec, data, tmp_path)
    run(other, data, tmp_path)
    path = best_checkpoint_path(tmp_path, spec.trial_id)
    whole = path.read_bytes()

    path.write_bytes(whole[:-100])
    with pytest.raises(CorruptFileError, match="corrupt: its checksum does not fit"):
        restore_best(tmp_path, spec.trial_id, data)

    shutil.copy(best_checkpoint_path(tmp_path, other.trial_id), path)
    with pytest.raises(CorruptFileError, match="not that of the best epoch of trial"):
        restore_best(tmp_path, spec.trial_id, data)

    path.write_bytes(whole)
    payload = load_checkpoint(path)
    payload["model"] = dict(list(payload["model"].items())[1:])
    save_checkpoint(path, payload)
    with pytest.raises(CorruptFileError, match="does not fit the model of trial"):
        restore_best(tmp_path, spec.trial_id, data)
