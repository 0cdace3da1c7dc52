from __future__ import annotations

import math

import pytest
import torch

from trainables.checkpoint import checkpoint_path, load_checkpoint
from trainables.problems.multi_digits import MultiDigits
from trainables.record import read_record, record_path, write_record
from trainables.run import run_trial
from trainables.session import TrialSession


def count_batches(monkeypatch):
    calls = []
    original = MultiDigits.losses

    def losses(self, outputs, batch):
        calls.append(1)
        return original(self, outputs, batch)

    monkeypatch.setattr(MultiDigits, "losses", losses)
    return calls


def test_a_finished_trial(make_spec, data, tmp_path):
    spec = make_spec("ls", epochs=2, evaluate_test=True)
    session = TrialSession(spec, data, phase="replicate", results_dir=tmp_path)
    first = session.step()
    assert first["status"] == "running"
    assert first["done"] is False
    assert first["objective"] == first["selection"]
    last = session.step()
    assert last["status"] == "finished"
    assert last["done"] is True
    record = session.record
    assert record == read_record(record_path(tmp_path, spec.trial_id))
    assert set(record) == {
        *("format", "trial_id", "phase", "spec", "status", "error", "epochs", "best_epoch"),
        *("validation", "test", "seconds", "counters", "started", "ended", "host"),
    }
    assert record["phase"] == "replicate"
    assert record["spec"] == spec.to_dict()
    assert record["error"] is None
    best = record["epochs"][record["best_epoch"] - 1]
    assert record["validation"]["selection"] == last["objective"] == best["selection"]
    assert record["validation"]["CL.accuracy"] == best["validation.CL.accuracy"]
    assert record["validation"]["delta_mtm"] == best["validation.delta_mtm"]
    assert set(record["test"]) == {"CL.accuracy", "RR.mse"}
    assert record["seconds"] > sum(row["train_seconds"] for row in record["epochs"])
    assert session.step() == last  # asking again does nothing


def test_the_test_split_is_read_only_when_asked_and_once(make_spec, data, monkeypatch):
    original = MultiDigits.update_metrics
    sizes = []

    def spy(self, metrics, outputs, batch):
        sizes.append(len(batch["CL"]))
        original(self, metrics, outputs, batch)

    monkeypatch.setattr(MultiDigits, "update_metrics", spy)
    options = {"validation_pairs": 150, "test_pairs": 170}
    record = TrialSession(make_spec(options=options), data).run()
    assert record["test"] is None
    assert sizes == [150] * 3
    sizes.clear()
    TrialSession(make_spec(options=options, evaluate_test=True), data).run()
    assert sizes == [150] * 3 + [170]


def test_the_test_metrics_are_those_of_the_best_epochs_parameters(make_spec, data, monkeypatch):
    selections = iter([5.0, 1.0, 0.0])
    monkeypatch.setattr("trainables.training.selection_value", lambda *_: next(selections))
    record = TrialSession(make_spec(epochs=3, evaluate_test=True), data).run()
    assert record["best_epoch"] == 1
    monkeypatch.setattr("trainables.training.selection_value", lambda *_: 1.0)
    one = TrialSession(make_spec(epochs=1, evaluate_test=True), data).run()
    assert record["test"] == one["test"]


def test_nothing_that_ended_is_run_again(make_spec, data, tmp_path, monkeypatch):
    spec = make_spec(epochs=2)
    record = run_trial(spec, data=data, results_dir=tmp_path)
    calls = count_batches(monkeypatch)
    assert run_trial(spec, data=data, results_dir=tmp_path) == record
    assert calls == []
    again = TrialSession(spec, data, results_dir=tmp_path)
    assert again.step()["done"] is True


def test_a_diverged_trial_is_recorded_not_raised(make_spec, data, tmp_path, caplog):
    spec = make_spec("ls", optimizer="sgd", lr=1e3, epochs=5)
    session = TrialSession(spec, data, results_dir=tmp_path, raise_on_failure=True)
    result = {"done": False}
    while not result["done"]:
        result = session.step()
    assert result["status"] == "diverged"
    assert math.isnan(result["objective"])
    record = read_record(record_path(tmp_path, spec.trial_id))
    assert record["status"] == "diverged"
    error = record["error"]
    assert error["type"] in ("NonFiniteLossError", "DivergedError")
    assert error["epoch"] == len(record["epochs"]) + 1
    assert error["step"] >= 1
    assert error["traceback"] is None
    assert f"epoch {error['epoch']}" in error["message"]
    assert record["test"] is None
    assert "diverged" in caplog.text


def test_a_diverged_loss_names_its_task(make_spec, data, monkeypatch):
    original = MultiDigits.losses

    def losses(self, outputs, batch):
        found = original(self, outputs, batch)
        found["RR"] = found["RR"] * math.nan
        return found

    monkeypatch.setattr(MultiDigits, "losses", losses)
    record = TrialSession(make_spec(), data).run()
    assert record["error"]["type"] == "NonFiniteLossError"
    assert (record["error"]["task"], record["error"]["epoch"], record["error"]["step"]) == (
        "RR",
        1,
        1,
    )
    assert record["epochs"] == []
    assert record["validation"] is None
    assert record["best_epoch"] is None


def test_a_failed_trial_is_recorded_with_its_traceback(make_spec, data, tmp_path):
    spec = make_spec("fake_failing", epochs=5)
    record = TrialSession(spec, data, results_dir=tmp_path).run()
    assert record["status"] == "failed"
    assert record["error"]["type"] == "RuntimeError"
    assert record["error"]["message"] == "the fake method fails"
    assert "in end_epoch" in record["error"]["traceback"]
    assert record["error"]["task"] is None
    assert len(record["epochs"]) == 2
    assert read_record(record_path(tmp_path, spec.trial_id)) == record


def test_a_failure_is_raised_when_asked_and_recorded_still(make_spec, data, tmp_path):
    spec = make_spec("fake_failing", epochs=5)
    with pytest.raises(RuntimeError, match="the fake method fails"):
        run_trial(spec, data=data, results_dir=tmp_path)
    assert read_record(record_path(tmp_path, spec.trial_id))["status"] == "failed"


def test_a_failure_before_the_first_epoch_is_recorded(make_spec, data):
    record = TrialSession(make_spec("bayes_agg"), data).run()  # the heads are too deep for it
    assert record["status"] == "failed"
    assert record["error"]["type"] == "ConfigurationError"
    assert record["epochs"] == []


def test_a_failed_trial_may_run_again(make_spec, data, tmp_path, monkeypatch):
    spec = make_spec("fake_failing", epochs=3)
    TrialSession(spec, data, results_dir=tmp_path).run()
    monkeypatch.setattr(type(spec.make_method()), "end_epoch", lambda *_, **__: None)
    record = TrialSession(spec, data, results_dir=tmp_path).run()
    assert record["status"] == "finished"
    assert read_record(record_path(tmp_path, spec.trial_id))["status"] == "finished"


def test_a_corrupt_record_is_named_and_the_trial_runs_again(make_spec, data, tmp_path, caplog):
    spec = make_spec(epochs=1)
    record = run_trial(spec, data=data, results_dir=tmp_path)
    path = record_path(tmp_path, spec.trial_id)
    path.write_text(path.read_text().replace("finished", "diverged"))
    again = TrialSession(spec, data, results_dir=tmp_path)
    assert again.record is None
    assert "runs again" in caplog.text
    assert again.run()["validation"] == record["validation"]


def test_an_interrupt_is_not_a_failure(make_spec, data, tmp_path, monkeypatch):
    spec = make_spec()
    session = TrialSession(spec, data, results_dir=tmp_path)
    session.step()

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("trainables.training.evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.step()
    assert session.record is None
    assert not record_path(tmp_path, spec.trial_id).exists()


def test_a_full_disk_is_not_the_trials_failure(make_spec, data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainables.session.save_checkpoint", full)
    session = TrialSession(make_spec(), data, results_dir=tmp_path, checkpoint_every_s=0.0)
    with pytest.raises(OSError, match="No space left"):
        session.step()
    assert session.record is None


def test_checkpoints_of_ended_trials_go_but_the_best_may_stay(make_spec, data, tmp_path):
    spec = make_spec(epochs=2)
    folder = checkpoint_path(tmp_path, spec.trial_id).parent
    TrialSession(spec, data, results_dir=tmp_path, checkpoint_every_s=0.0).run()
    assert not folder.exists()
    other = make_spec(epochs=2, seed=4)
    session = TrialSession(
        other, data, results_dir=tmp_path, checkpoint_every_s=0.0, keep_best=True
    )
    record = session.run()
    folder = checkpoint_path(tmp_path, other.trial_id).parent
    assert [file.name for file in folder.iterdir()] == ["best.pt"]
    best = load_checkpoint(folder / "best.pt")
    assert best["epoch"] == record["best_epoch"]
    other.make_problem().build_model().load_state_dict(best["model"])
    other.make_method().load_state_dict(best["method"])


def test_a_residual_that_is_not_finite_is_null_in_the_record(make_spec, data, tmp_path):
    spec = make_spec(epochs=1)
    session = TrialSession(spec, data, results_dir=tmp_path)
    trainer = session._ready_trainer()
    run_epoch = trainer.run_epoch

    def with_infinite_residual():
        run_epoch()["solver_residual"] = math.inf

    trainer.run_epoch = with_infinite_residual
    assert session.step()["solver_residual"] is None
    record = read_record(record_path(tmp_path, spec.trial_id))
    assert record["status"] == "finished"
    assert record["epochs"][0]["solver_residual"] is None


def test_run_trial_from_a_dictionary(tmp_path, make_spec):
    spec = make_spec(epochs=1).to_dict()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        record = run_trial(spec, make_spec().make_problem().load())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert record["status"] == "finished"
    assert record["trial_id"] == make_spec(epochs=1).trial_id


def test_a_record_of_another_time_is_not_touched(make_spec, data, tmp_path):
    """A record that says diverged ends the trial, as the same trial would diverge again."""
    spec = make_spec(optimizer="sgd", lr=1e3, epochs=2)
    record = TrialSession(spec, data, results_dir=tmp_path).run()
    path = record_path(tmp_path, spec.trial_id)
    write_record(path, {**record, "host": "elsewhere"})
    assert TrialSession(spec, data, results_dir=tmp_path).run()["host"] == "elsewhere"


def test_the_state_after_the_last_epoch_may_stay_too(make_spec, data, tmp_path):
    spec = make_spec(epochs=3)
    record = TrialSession(
        spec, data, results_dir=tmp_path, checkpoint_every_s=0.0, keep_best=True, keep_last=True
    ).run()
    folder = checkpoint_path(tmp_path, spec.trial_id).parent
    assert sorted(file.name for file in folder.iterdir()) == ["best.pt", "last.pt"]
    last = load_checkpoint(folder / "last.pt")
    assert last["epoch"] == len(last["trainer"]["rows"]) == 3
    # The model as the last epoch left it, not with the best parameters that were loaded after it.
    from trainables.training import Trainer

    trainer = Trainer(spec, data.tensors(spec.make_problem()))
    for _ in range(3):
        trainer.run_epoch()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(last["trainer"]["model"][name], value)
    assert TrialSession(spec, data, results_dir=tmp_path).record == record
