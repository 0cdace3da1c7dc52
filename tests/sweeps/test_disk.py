"""Disk space: what is needed, what is refused, what is removed."""

from __future__ import annotations

import errno
import logging
import re
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from sweeps_fakes import execute, make_plan, resolved_study, study_data

import sweeps.commands.cli
from sweeps.errors import DiskFullError, ResultsFolderError, StudyError
from sweeps.folder.disk import (
    DiskNeed,
    _record_bytes,
    check_space,
    disk_need,
    free_bytes,
    is_disk_full,
    saying_disk_full,
    size,
    tidy_checkpoints,
)
from sweeps.folder.ledger import Ledger
from sweeps.running.logs import _LogFile
from trainables.checkpoint import (
    best_checkpoint_path,
    checkpoint_path,
    handover_path,
    save_checkpoint,
)
from trainables.run import run_trial

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 MB"), (1, "1 MB"), (6.7e6, "7 MB"), (2.34e9, "2.3 GB")]
)
def test_sizes_in_words(count: float, text: str) -> None:
    assert size(count) == text


def need(tmp_path: Path, keep: str, limit: int = 0, **changes: object) -> DiskNeed:
    study = resolved_study(resources={"keep_checkpoints": keep}, **changes)
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path, limit=limit)
    return disk_need(plan, slots=2)


def test_what_is_kept_follows_the_study(tmp_path: Path) -> None:
    none, best, both = (need(tmp_path, k).kept for k in ("none", "best", "best_and_last"))
    assert none == 0.0
    assert 0.0 < best < both


def test_the_model_is_measured_and_only_trials_that_keep_count(tmp_path: Path) -> None:
    study = resolved_study()
    plan = make_plan(study, tmp_path)
    model = study.problem.build_model()
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    tested = 2 * 2 + 3 * 2 + 2 + 3  # replicates of baselines and methods, fixed, swept
    each = disk_need(plan, 2).kept / tested
    assert parameters < each < 1.1 * parameters + 30_000


@pytest.mark.parametrize("keep", ["best", "best_and_last"])
def test_real_checkpoints_are_no_larger_than_expected(keep: str, tmp_path: Path) -> None:
    study = resolved_study()
    plan = make_plan(study, tmp_path)
    trial = next(t for t in iter(plan.next, None) if t.variant.startswith("stl"))
    run_trial(trial.spec, results_dir=tmp_path, keep_best=True, keep_last=keep == "best_and_last")
    folder = checkpoint_path(tmp_path, trial.trial_id).parent
    names = {"best": ["best.pt"], "best_and_last": ["best.pt", "last.pt"]}[keep]
    assert sorted(path.name for path in folder.iterdir()) == names
    written = sum(path.stat().st_size for path in folder.iterdir())
    each = need(tmp_path / "other", keep).kept / 15
    assert 0.5 * each < written <= each
    record = (tmp_path / "ledger" / f"{trial.trial_id}.json").stat().st_size
    expected = _record_bytes(study, trial.epochs)
    assert 0.3 * expected < record < 1.5 * expected


SWEEP = {"method": "fairgrad", "parameter": "alpha", "values": [2.0, 3.0, 4.0], "seeds": 2}


def test_trials_that_several_parts_want_count_once(tmp_path: Path) -> None:
    """FairGrad's default of alpha is 2: its replicates are the first value of the sweep."""
    changes = {"baselines": None, "selection": "loss", "budget": None, "fixed_weights": None}
    changes["search_space"] = None
    swept = need(tmp_path / "a", "best", **changes, sensitivity=[SWEEP])
    without = need(tmp_path / "b", "best", **changes)
    each = without.kept / (3 * 2 + 3)  # replicates, and the weight sweep
    assert swept.kept == pytest.approx(without.kept + 2 * 2 * each)
    # Before the search has ended nobody knows, and all of them count.
    changes["budget"] = {"trials": 2}
    unknown = need(tmp_path / "c", "best", **changes, sensitivity=[SWEEP])
    assert unknown.kept == pytest.approx(without.kept + 3 * 2 * each)


def test_a_population_writes_short_records_and_hands_on_two_generations(tmp_path: Path) -> None:
    changes = {"protocol": {"epochs": 6, "batch_size": 32}, "replicate": None}
    changes |= {"fixed_weights": None, "weight_sweep": None}
    without = need(tmp_path / "a", "none", **changes)
    study = resolved_study(**changes)
    state = without.running / 2 / 2  # two trials at once, each a checkpoint and its successor
    for interval, generations, states in ((3, 2, 4), (2, 3, 8), (1, 6, 8)):
        population = {"size": 4, "interval": interval}
        more = need(tmp_path / f"{interval}", "none", **changes, population=population)
        assert more.running - without.running == pytest.approx(states * state)
        records = sum(4 * _record_bytes(study, interval * (g + 1)) for g in range(generations))
        assert more.rest - without.rest == pytest.approx(1.7 * records)


def test_states_that_were_handed_on_are_there_already(tmp_path: Path) -> None:
    changes = {"protocol": {"epochs": 6, "batch_size": 32}, "replicate": None, "baselines": None}
    changes |= {"fixed_weights": None, "weight_sweep": None, "selection": "loss", "methods": ["ls"]}
    study = resolved_study(**changes, population={"size": 4, "interval": 2})
    plan = make_plan(study, tmp_path)
    before = disk_need(plan, 1)
    for trial_id in ("a", "b", "c"):
        save_checkpoint(handover_path(tmp_path, trial_id), {"state": 1})
    state = before.running / (2 + 8)  # one trial's checkpoint and its successor
    assert disk_need(plan, 1).running == pytest.approx(before.running - 3 * state)


def test_what_has_ended_is_not_needed_again(tmp_path: Path) -> None:
    whole = need(tmp_path / "a", "best").total
    part = need(tmp_path / "b", "best", limit=35).total
    assert part < whole
    assert need(tmp_path / "c", "best", limit=1000).kept == 0.0


def test_what_does_not_fit_is_refused_with_what_to_do(tmp_path: Path) -> None:
    check_space(tmp_path, DiskNeed(1e9, 0.0, 0.0), free=10**9)
    with pytest.raises(ResultsFolderError, match=r"needs about 3\.0 GB .* where 2\.0 GB are free"):
        check_space(tmp_path, DiskNeed(2e9, 5e8, 5e8), free=2 * 10**9)


def test_free_space_of_a_folder_that_is_to_be_made(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b" / "c") == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.2
    )


@pytest.mark.parametrize("action", ["run", "check"])
def test_a_study_that_does_not_fit_is_refused_before_ray_and_before_a_folder(
    action: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ray.init", lambda *a, **k: pytest.fail("Ray was started"))
    monkeypatch.setattr("sweeps.folder.disk.shutil.disk_usage", lambda path: Usage(9e6, 8e6, 1e6))
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study_data()), encoding="utf-8")
    results = tmp_path / "r"
    monkeypatch.setattr(sys, "argv", ["fairsweep", action, str(path), "--results", str(results)])
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert "where 1 MB are free" in err
    assert err.count("\n") == 1
    assert out == ""
    assert not results.exists()


def test_check_says_what_will_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study_data()), encoding="utf-8")
    arguments = ["fairsweep", "check", str(path), "--results", str(tmp_path / "r")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert re.search(
        r"disk: about \d+ MB \(\d MB of it checkpoints that are kept\) .*, .* free", out
    )


# ------------------------------------------------------------------ a full disk


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError(28), False),
        (None, False),
    ],
)
def test_a_full_disk_is_known_and_nothing_else_is(error: Exception | None, full: bool) -> None:
    assert is_disk_full(error) is full
    wrapped = RuntimeError("Ray says")
    wrapped.__cause__ = error
    assert is_disk_full(wrapped) is full


def test_a_full_disk_is_said_and_other_errors_pass(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFullError, match="make room and run the same command again"),
        saying_disk_full(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StudyError), saying_disk_full(tmp_path):
        raise StudyError("something else")


def test_a_log_on_a_full_disk_prints_no_tracebacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = _LogFile(tmp_path / "x.log")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log.stream.write = full  # type: ignore[method-assign]
    record = logging.LogRecord("sweeps", logging.INFO, "x", 1, "text", None, None)
    log.handle(record)
    assert capsys.readouterr().err == ""
    log.close()


# ------------------------------------------------------------------ what is left behind


def test_halves_and_checkpoints_of_ended_trials_go(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    finished = execute(plan, tmp_path, limit=2)
    waiting = plan.next()
    assert waiting is not None
    for trial in (*finished, waiting):
        save_checkpoint(checkpoint_path(tmp_path, trial.trial_id), {"epoch": 1})
    save_checkpoint(best_checkpoint_path(tmp_path, finished[0].trial_id), {"epoch": 1})
    unfinished = checkpoint_path(tmp_path, waiting.trial_id).parent
    for place in (tmp_path, tmp_path / "ledger", unfinished):
        (place / ".last.pt.abc.tmp").write_bytes(b"half")
    ledger = Ledger(tmp_path / "ledger").load()
    assert tidy_checkpoints(tmp_path, ledger, "best") > 0
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("checkpoints/*/*"))
    assert left == sorted(
        [
            f"checkpoints/{finished[0].trial_id}/best.pt",
            f"checkpoints/{waiting.trial_id}/last.pt",
        ]
    )
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "checkpoints" / finished[1].trial_id).exists()


def test_last_checkpoints_stay_if_the_study_says_so(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    (trial,) = execute(plan, tmp_path, limit=1)
    path = checkpoint_path(tmp_path, trial.trial_id)
    save_checkpoint(path, {"epoch": 1})
    ledger = Ledger(tmp_path / "ledger").load()
    assert tidy_checkpoints(tmp_path, ledger, "best_and_last") == 0
    assert path.is_file()
