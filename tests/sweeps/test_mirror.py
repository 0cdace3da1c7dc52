"""The mirror: the searches of a study for Optuna's tools; never read back."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from sweeps_fakes import execute, hashed_value, make_plan, resolved_study

import sweeps.commands.cli
from sweeps.commands.dashboard import follow
from sweeps.errors import ResultsFolderError
from sweeps.folder.mirror import Mirror, mirror_prefix, mirrored, open_mirror, open_or_renew
from sweeps.folder.results import ResultsFolder
from sweeps.phases.tuning import Tuning
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial


def some_bad(trial: Trial) -> tuple[str, float]:
    bad = trial.variant == "uw" and trial.seed % 2 == 1
    return ("diverged", math.nan) if bad else hashed_value(trial)


def mirror_of(plan: Plan, kind: str, folder: Path) -> tuple[Mirror, Any]:
    storage = open_mirror(kind, folder)
    return Mirror(storage, mirror_prefix(plan)), storage


@pytest.mark.parametrize("kind", ["journal", "sqlite:///mirror.db"])
def test_every_search_is_an_optuna_study_with_its_values(kind: str, tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path, some_bad)
    mirror, storage = mirror_of(plan, kind, tmp_path)
    assert mirror.update(plan) == 5 * 3
    assert mirror.update(plan) == 0
    tunings = {u.variant: u for u in plan.units if isinstance(u, Tuning)}
    names = optuna.get_all_study_names(storage)
    assert len(names) == len(tunings) == 5
    for variant, tuning in tunings.items():
        (name,) = [n for n in names if n.endswith(f" {variant}")]
        study = optuna.load_study(study_name=name, storage=storage)
        by_number = {trial.user_attrs["number"]: trial for trial in study.trials}
        for attempt in tuning.attempts:
            trial = by_number[attempt.number]
            assert trial.params == dict(attempt.point)
            assert len(trial.user_attrs["trials"]) == 2
            if variant == "uw":
                assert trial.state == optuna.trial.TrialState.FAIL
                assert trial.user_attrs["statuses"] == ["diverged", "finished"]
            else:
                assert trial.values == list(attempt.values)
            assert trial.duration is not None
        if variant != "uw":
            assert study.best_trial.user_attrs["number"] == tuning.leader.number  # type: ignore[union-attr]


def test_several_objectives_have_their_own_directions(tmp_path: Path) -> None:
    study = resolved_study(objectives=["CL.accuracy", "RR.mse"])
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path)
    mirror, storage = mirror_of(plan, "journal", tmp_path)
    mirror.update(plan)
    name = next(n for n in optuna.get_all_study_names(storage) if n.endswith("search ls"))
    found = optuna.load_study(study_name=name, storage=storage)
    assert found.metric_names == ["CL.accuracy", "RR.mse"]
    assert [d.name for d in found.directions] == ["MAXIMIZE", "MINIMIZE"]
    accuracy, error = found.trials[0].values
    assert 0.9 <= accuracy < 1.0
    assert 0.05 <= error < 0.06


def test_a_mirror_goes_on_where_it_was_and_may_be_lost(tmp_path: Path) -> None:
    study = resolved_study()
    execute(make_plan(study, tmp_path), tmp_path, limit=20)
    plan = make_plan(study, tmp_path)
    mirror, storage = mirror_of(plan, "journal", tmp_path)
    first = mirror.update(plan)
    execute(plan, tmp_path)
    again, _ = mirror_of(plan, "journal", tmp_path)
    assert first + again.update(plan) == 15
    numbers = [
        trial.user_attrs["number"]
        for name in optuna.get_all_study_names(storage)
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    ]
    assert sorted(numbers) == sorted(list(range(3)) * 5)
    (tmp_path / "mirror.journal").unlink()
    anew, _ = mirror_of(plan, "journal", tmp_path)
    assert anew.update(plan) == 15


def test_a_storage_that_fails_is_said_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sweeps.folder.mirror._EVERY_SECONDS", 0.02)

    def fail(*_: object) -> None:
        raise RuntimeError("the database went away")

    monkeypatch.setattr(Mirror, "update", fail)
    plan = make_plan(resolved_study(), tmp_path)
    with mirrored(plan, "journal", tmp_path, lambda: 60.0):
        execute(plan, tmp_path)
    assert plan.finished
    assert caplog.text.count("the database went away") == 1


def test_a_mirror_that_is_no_mirror_is_said(tmp_path: Path) -> None:
    (tmp_path / "mirror.db").write_bytes(b"no database at all, " * 100)
    with pytest.raises(ResultsFolderError, match=r"mirror\.db cannot be opened; remove it"):
        open_mirror("sqlite:///mirror.db", tmp_path)


def cut_short(path: Path) -> None:
    """As a kill in the middle of an append leaves it, with the lock."""
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"')
    lock = path.with_name(path.name + ".lock")
    lock.symlink_to(path)
    os.utime(lock, (1.0, 1.0), follow_symlinks=False)


def overwritten(path: Path) -> None:
    path.write_bytes(b"no database at all, " * 100)


@pytest.mark.parametrize(
    ("kind", "damage"), [("journal", cut_short), ("sqlite:///mirror.db", overwritten)]
)
@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_damaged_file_is_moved_aside_and_made_anew(
    kind: str,
    damage: Callable[[Path], None],
    meanwhile: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path, limit=10)
    with mirrored(plan, kind, tmp_path, lambda: 60.0):
        pass
    path = tmp_path / ("mirror.journal" if kind == "journal" else "mirror.db")
    older = path.with_name(path.name + ".damaged")
    older.write_bytes(b"older")
    if not meanwhile:
        damage(path)
    with mirrored(plan, kind, tmp_path, lambda: 60.0):
        if meanwhile:
            damage(path)
        execute(plan, tmp_path)
    assert plan.finished
    storage = open_mirror(kind, tmp_path)
    assert sum(study.n_trials for study in optuna.get_all_study_summaries(storage)) == 15
    assert older.read_bytes() == b"older"
    assert path.with_name(path.name + ".damaged.2").stat().st_size
    assert caplog.text.count("made anew from the ledger") == 1
    assert "cannot be written" not in caplog.text


def test_a_lock_of_this_moment_stays(tmp_path: Path) -> None:
    lock = tmp_path / "mirror.journal.lock"
    lock.symlink_to(tmp_path / "mirror.journal")
    open_or_renew("journal", tmp_path)
    assert lock.is_symlink()


# ------------------------------------------------------------------ the dashboard


def started(results: Path, **changes: Any) -> Path:
    study = resolved_study(**changes)
    with ResultsFolder(results, study):
        execute(make_plan(study, results), results)
    return results


def get(app: Any, path: str) -> tuple[str, str, bytes]:
    """One request to a WSGI application: status, content type, body."""
    seen: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        seen.update(status=status, headers={k.lower(): v for k, v in headers})

    body = app(
        {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.url_scheme": "http",
        },
        start_response,
    )
    return seen["status"], seen["headers"].get("content-type", ""), b"".join(body)


def test_the_dashboard_serves_the_studies_and_runs_no_text_of_theirs(tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    attack = "<img/src=x/onerror=alert(1)>".replace("/", "\N{DIVISION SLASH}")
    folder = started(
        tmp_path / "r", methods=[{"name": "ls", "label": attack}, "fairgrad"], weight_sweep=None
    )
    storage, update = follow(folder)
    assert update() == 4 * 3
    app = dashboard.wsgi(storage)
    status, kind, body = get(app, "/api/studies")
    assert status.startswith("200")
    assert "json" in kind  # data, which a browser does not run
    studies = {entry["study_name"] for entry in json.loads(body)["study_summaries"]}
    assert any(name.endswith(attack) for name in studies)
    for page in ("/", "/dashboard", "/dashboard/studies/0"):
        _, _, body = get(app, page)
        assert b"onerror=alert" not in body


def test_the_dashboard_command_listens_on_the_loopback_interface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    folder = started(tmp_path / "r")
    served = []
    monkeypatch.setattr(
        dashboard, "run_server", lambda storage, host, port: served.append((storage, host, port))
    )
    monkeypatch.setattr(sys, "argv", ["fairsweep", "dashboard", str(folder), "--port", "8099"])
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    assert caught.value.code == 0
    ((storage, host, port),) = served
    assert (host, port) == ("127.0.0.1", 8099)
    assert len(optuna.get_all_study_names(storage)) == 5
    assert "15 configurations were new" in capsys.readouterr().out


def test_a_missing_dashboard_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    monkeypatch.setattr(sys, "argv", ["fairsweep", "dashboard", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    assert caught.value.code == 2
    assert '".[dashboard]"' in capsys.readouterr().err


def test_the_order_of_ending_changes_no_table(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    study = resolved_study(sampler="random")
    plan = make_plan(study, whole)
    execute(plan, whole, slots=3)
    while True:
        other = make_plan(study, cut)
        if other.finished:
            break
        execute(other, cut, limit=7)
    expected = [(t.phase, t.variant, t.trial_id) for t, _ in plan.ended]
    assert [(t.phase, t.variant, t.trial_id) for t, _ in other.ended] == expected
