"""TensorBoard and MLflow, written from the ledger."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from sweeps_fakes import execute, hashed_value, make_plan, resolved_study

from sweeps.definition.resolve import resolve
from sweeps.definition.study_file import parse_study
from sweeps.folder.trackers import (
    MlflowTracker,
    TensorboardTracker,
    Tracker,
    make_trackers,
    tracking,
)
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from sweeps.running.companions import companions
from trainables.errors import MissingExtraError

SMALL: dict[str, Any] = {
    "methods": ["ls"],
    "baselines": None,
    "selection": "loss",
    "fixed_weights": None,
    "weight_sweep": None,
}


def some_bad(trial: Trial) -> tuple[str, float]:
    return ("failed", 0.0) if trial.phase == "replicate" else hashed_value(trial)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    made = make_plan(resolved_study(**SMALL), tmp_path)
    execute(made, tmp_path, some_bad)
    return made


def write_all(plan: Plan, trackers: list[Tracker]) -> None:
    with tracking(trackers, lambda: 60.0) as tell:
        for trial, record in plan.ended:
            tell(trial, record)


def test_tensorboard_has_the_rows_of_each_trial_once(plan: Plan, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):
        write_all(plan, [TensorboardTracker(tmp_path)])
    folders = sorted((tmp_path / "tensorboard" / "search" / "ls").iterdir())
    assert len(folders) == 6
    assert not (tmp_path / "tensorboard" / "replicate").exists()  # failed, and will run again
    for trial, record in plan.ended[:6]:
        (folder,) = [f for f in folders if f.name == f"seed{trial.seed}-{trial.trial_id}"]
        assert len(list(folder.glob("events.*"))) == 1
        read = events.EventAccumulator(str(folder)).Reload()
        accuracy = read.Scalars("validation/CL.accuracy")
        assert [event.step for event in accuracy] == [1, 2]
        expected = [row["validation.CL.accuracy"] for row in record.epochs()]
        assert [event.value for event in accuracy] == pytest.approx(expected)


def test_labels_are_no_paths(plan: Plan, tmp_path: Path) -> None:
    tracker = TensorboardTracker(tmp_path)
    inside = (tmp_path / "tensorboard").resolve()
    for label in ("..", "../../x", "/etc/passwd", "a\\b", ".", "\N{FULLWIDTH SOLIDUS}x"):
        trial = Trial("0" * 16, "c", plan.ended[0][0].spec, "search", "ls", label)
        assert inside in tracker._place(trial).resolve().parents


def test_mlflow_has_a_run_for_each_trial_once(plan: Plan, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    for _ in range(2):
        write_all(plan, [MlflowTracker(tmp_path, "tiny", None)])
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 6
    by_trial = {run.data.tags["fairsweep_trial"]: run for run in runs}
    for trial, record in plan.ended[:6]:
        run = by_trial[trial.trial_id]
        assert run.info.status == "FINISHED"
        assert run.data.params["training.lr"] == str(trial.spec["training"]["lr"])
        history = client.get_metric_history(run.info.run_id, "validation.CL.accuracy")
        expected = [row["validation.CL.accuracy"] for row in record.epochs()]
        assert [metric.value for metric in history] == pytest.approx(expected)
        assert [metric.step for metric in history] == [1, 2]


def test_a_tracker_that_fails_is_said_once_and_stops_nothing(
    plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Tracker):
        name = "broken"

        def knows(self, trial: Trial) -> bool:
            return False

        def write(self, trial: Trial, record: object) -> None:
            raise ConnectionError("nobody there")

    with caplog.at_level(logging.WARNING):
        write_all(plan, [Broken()])
    assert caplog.text.count("nobody there") == 1


def test_what_ended_before_is_written_too(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    study = resolved_study(**SMALL, trackers={"tensorboard": True}, mirror="journal")
    execute(make_plan(study, tmp_path), tmp_path, limit=4)
    plan = make_plan(study, tmp_path)
    with companions(plan, tmp_path, lambda: False) as tell:
        for trial in execute(plan, tmp_path):
            record = plan.ledger.get(trial.trial_id)
            assert record is not None
            tell(trial, record)
    assert len(list((tmp_path / "tensorboard").rglob("complete"))) == 8
    assert (tmp_path / "mirror.journal").is_file()


@pytest.mark.parametrize(
    ("package", "trackers", "extra"),
    [
        ("tensorboardX", {"tensorboard": True}, "tensorboard"),
        ("mlflow", {"mlflow": True}, "mlflow"),
    ],
)
def test_a_missing_package_says_how_to_install_it(
    package: str,
    trackers: dict[str, Any],
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    study = resolved_study(**SMALL, trackers=trackers)
    with pytest.raises(MissingExtraError, match=rf"trackers\.{extra} needs .*\.\[{extra}\]"):
        make_trackers(study.study.trackers, tmp_path, "tiny")


def test_what_follows_a_sweep_is_no_part_of_its_identity() -> None:
    plain = resolved_study()
    followed = resolved_study(
        mirror="sqlite:///m.db", trackers={"tensorboard": True, "mlflow": {"uri": "http://h:1"}}
    )
    assert plain.study_hash == followed.study_hash
    assert "mirror" not in plain.as_run
    again = resolve(parse_study(followed.as_run)).study
    assert (again.mirror, again.trackers) == (followed.study.mirror, followed.study.trackers)
