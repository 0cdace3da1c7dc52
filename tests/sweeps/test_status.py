"""``fairsweep status``: read from the folder alone, changing nothing."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from sweeps_fakes import execute, hashed_value, make_plan, resolved_study, write_fake_record

import sweeps.commands.cli
from sweeps.commands.status_view import status_view
from sweeps.folder.liveness import RunFacts, write_run
from sweeps.folder.results import ResultsFolder
from sweeps.folder.status import Status, StatusReader
from sweeps.planning.trials import Trial
from trainables.heartbeat import Heartbeat
from trainables.record import read_record, write_record


def started(results: Path, limit: float = math.inf, **changes: object) -> Path:
    study = resolved_study(**changes)
    with ResultsFolder(results, study):
        execute(make_plan(study, results), results, some_bad, limit=limit)
    return results


def some_bad(trial: Trial) -> tuple[str, float]:
    if trial.phase == "weight_sweep":
        return "failed", math.nan
    if trial.variant == "uw" and trial.phase == "replicate":
        return "diverged", math.nan
    return hashed_value(trial)


def shown(status: Status) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(status_view(status))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))
    }


def test_a_study_that_has_ended(tmp_path: Path) -> None:
    status = StatusReader(started(tmp_path / "r")).read()
    assert (status.ended, status.planned, status.alive) == (45, 45, False)
    assert status.states == {"finished": 40, "diverged": 2, "failed": 3}
    assert status.errors == {"failed: RuntimeError": 3, "diverged: NonFiniteLossError": 2}
    assert {name for name, _ in status.best} == {"ls", "uw", "fairgrad"}
    assert not status.complete  # three failed
    text = shown(status)
    assert "no run is alive; run the study again to continue" in text
    assert "45/45" in text
    assert "3 failed: RuntimeError" in text


def test_no_text_of_a_record_commands_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = started(tmp_path / "r")
    for path in (folder / "ledger").glob("*.json"):
        record = read_record(path)
        if record["status"] == "failed":
            error = {**record["error"], "type": "X\x1b]0;PWNED\x07\x1b[2Jboo"}
            write_record(path, {**record, "error": error})
    monkeypatch.setattr(sys, "argv", ["fairsweep", "status", str(folder)])
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert r"X\x1b]0;PWNED\x07\x1b[2Jboo" in out


def test_no_text_of_a_refusal_commands_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fairsweep", "status", str(tmp_path / "a\x1b[2Jb")])
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert r"a\x1b[2Jb" in err


def test_a_study_without_failures_is_complete(tmp_path: Path) -> None:
    folder = started(tmp_path / "r", weight_sweep=None)
    status = StatusReader(folder).read()
    assert status.complete
    assert "every planned trial has ended" in shown(status)


def test_a_run_that_is_alive_shows_what_runs_and_nothing_is_written(tmp_path: Path) -> None:
    study = resolved_study()
    results = tmp_path / "r"
    with ResultsFolder(results, study) as folder:
        plan = make_plan(study, results)
        execute(plan, results, limit=20)
        write_run(folder.path, RunFacts.here(2))
        trial = plan.next()
        assert trial is not None
        who = {"phase": trial.phase, "label": "[bold]x", "epochs": 2}
        heart = Heartbeat(results, trial.trial_id, who)
        before = tree(results)
        status = StatusReader(results).read()
        assert tree(results) == before
    assert status.alive
    assert status.states == {"finished": 20, "running": 1, "waiting": 24}
    assert [r.trial_id for r in status.running] == [trial.trial_id]
    assert status.run is not None
    assert status.run.slots == 2
    text = shown(status)
    assert "a run is alive (process" in text
    assert "[bold]x" in text  # as it is, not as markup
    heart.end()


def test_signs_of_a_run_that_was_killed_are_nobody(tmp_path: Path) -> None:
    folder = started(tmp_path / "r", limit=10)
    write_run(folder, RunFacts.here(2))
    heart = Heartbeat(folder, "0123456789abcdef", {"label": "ls", "epochs": 2})
    status = StatusReader(folder).read()
    assert not status.alive
    assert status.running == []
    assert math.isnan(status.left)
    heart.end()


def test_rate_counts_this_run_alone(tmp_path: Path) -> None:
    folder = started(tmp_path / "r", limit=10)  # in January 2026, says each record
    facts = RunFacts.here(2)
    write_run(folder, facts)
    assert math.isnan(StatusReader(folder).read().rate)
    write_run(folder, RunFacts(facts.host, facts.pid, "2025-12-31T23:30:01+00:00", 2))
    assert StatusReader(folder).read().rate == pytest.approx(10 * 2.0)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1463.2, "1,460"), (123456.0, "123,000"), (20.0, "20"), (0.1234, "0.123"), (999.9, "1,000")],
)
def test_a_rate_is_three_digits_without_an_exponent(
    rate: float, expected: str, tmp_path: Path
) -> None:
    status = StatusReader(started(tmp_path / "r", limit=1)).read()
    assert f"rate: {expected} trials per hour" in shown(replace(status, rate=rate))


def test_the_whole_folder_is_shown_however_long(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 60) / ("b" * 60) / "r"
    status = replace(StatusReader(started(tmp_path / "r", limit=1)).read(), folder=str(folder))
    text = "".join(line.strip("│ ") for line in shown(status).splitlines())
    assert f"folder:{folder}" in text.replace(" ", "")
    assert "…" not in text


def test_damaged_records_are_told_and_their_trials_are_not_ended(tmp_path: Path) -> None:
    folder = started(tmp_path / "r")
    path = next((folder / "ledger").glob("*.json"))
    path.write_bytes(path.read_bytes()[:100])
    status = StatusReader(folder).read()
    assert status.damaged == [path.name]
    assert status.ended < 45
    assert path.name in shown(status)


def test_looking_again_reads_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = resolved_study()
    results = tmp_path / "r"
    with ResultsFolder(results, study):
        plan = make_plan(study, results)
        execute(plan, results, limit=10)
        reader = StatusReader(results)
        assert reader.read().ended == 10
        reads = []
        original = sweeps.folder.ledger.read_record
        monkeypatch.setattr(
            "sweeps.folder.ledger.read_record", lambda path: reads.append(path) or original(path)
        )
        trial = plan.next()
        assert trial is not None
        write_fake_record(results, trial, "finished", 0.5)
        assert reader.read().ended == 11
        assert [path.stem for path in reads] == [trial.trial_id]
        (results / "ledger" / f"{trial.trial_id}.json").unlink()
        assert reader.read().ended == 10


@pytest.mark.parametrize("watch", [False, True])
def test_json_is_for_machines(
    watch: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = started(tmp_path / "r")
    arguments = ["fairsweep", "status", str(folder), "--json", *(["--watch"] if watch else [])]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert not watch or out.count("\n") == 1
    data = json.loads(out)
    assert data["states"]["finished"] == 40
    assert data["phases"]["search"] == {
        "planned": 18,
        "ended": 18,
        "left_out": 0,
        "skipped": 0,
    }
    assert data["left"] is None
    assert data["complete"] is False


def test_what_is_no_results_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fairsweep", "status", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    assert caught.value.code == 2
    assert "no manifest.json" in capsys.readouterr().err
