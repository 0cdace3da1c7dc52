"""Whole studies on Ray, interrupted and continued, in processes of their own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from whole_studies import content, ledger, run, start, wait_for_records, write_study

pytestmark = [pytest.mark.slow, pytest.mark.survival]


def test_a_study_interrupted_and_continued_is_the_study_undisturbed(tmp_path: Path) -> None:
    disturbed, undisturbed = tmp_path / "a", tmp_path / "b"
    disturbed.mkdir()
    undisturbed.mkdir()
    study = write_study(tmp_path)
    planned = 2 * (2 + 2) + 2 * 2 + 2 * 2 + 2 + 3

    # Ctrl-C in the middle, to the whole process group as a terminal sends it.
    process = start(disturbed, study)
    wait_for_records(disturbed, process, 7)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - asked < 10
    assert process.returncode == 130, (out, err)
    assert "Continue with: fairsweep run" in out
    assert err == ""
    before = ledger(disturbed)
    assert 7 <= len(before) < planned
    assert all(record["status"] == "finished" for record in before.values())
    stamps = {
        path.name: path.stat().st_mtime_ns
        for path in (disturbed / "results" / "ledger").glob("*.json")
    }
    trials = pd.read_parquet(disturbed / "results" / "trials.parquet")
    assert set(trials["trial_id"]) == set(before)

    # The same command continues, and repeats nothing.
    code, out, err = run(disturbed, study)
    assert code == 0, (out, err)
    assert f"{len(before)} trials had ended before and are not repeated" in out
    assert "trials ran in 2 worker processes" in out
    after = ledger(disturbed)
    assert len(after) == planned
    for name, stamp in stamps.items():
        assert (disturbed / "results" / "ledger" / name).stat().st_mtime_ns == stamp

    # The same study, undisturbed: every trial the same to the last bit.
    code, out, err = run(undisturbed, study)
    assert code == 0, (out, err)
    assert err == ""
    reference = ledger(undisturbed)
    assert set(after) == set(reference)
    for trial_id, record in reference.items():
        assert content(after[trial_id]) == content(record)
    for name in ("summary.csv", "report.html", "epochs.parquet", "fairsweep.log"):
        assert (undisturbed / "results" / name).stat().st_size > 0
    trials = pd.read_parquet(undisturbed / "results" / "trials.parquet")
    assert trials["status"].eq("finished").all()
    assert len(trials) == planned
    tested = trials["test.CL.accuracy"].notna() | trials["test.RR.mse"].notna()
    assert tested.eq(~trials["phase"].eq("search") & trials["seed"].ge(1000)).all()


def test_sigterm_while_ray_starts_stops_before_any_trial(tmp_path: Path) -> None:
    process = start(tmp_path, write_study(tmp_path))
    log = tmp_path / "results" / "fairsweep.log"
    deadline = time.monotonic() + 60
    while not log.is_file() or not log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, (out, err)
    assert time.monotonic() - asked < 20
    assert ledger(tmp_path) == {}


def test_a_loss_that_diverges_is_recorded_and_the_sweep_goes_on(tmp_path: Path) -> None:
    study = write_study(
        tmp_path,
        search_space={"lr": [0.001, 900.0]},
        protocol={"epochs": 2, "batch_size": 64, "optimizer": "sgd"},
        fixed_weights=None,
        weight_sweep=None,
    )
    code, out, err = run(tmp_path, study)
    assert code == 0, (out, err)
    trials = pd.read_parquet(tmp_path / "results" / "trials.parquet")
    diverged = trials[trials["status"] == "diverged"]
    assert len(diverged) > 0
    assert diverged["training.lr"].eq(900.0).all()
    assert diverged["error_epoch"].notna().all()
    assert trials[trials["phase"] == "replicate"]["status"].eq("finished").all()
    assert out.count("diverged: ") == 2 * len(diverged)  # when it happens, and at the end


def workers_of(driver: int) -> list[int]:
    """The processes below a driver that run trials."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text(encoding="utf-8")
            titles[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        parents[int(folder.name)] = int(fields["PPid"])

    def is_below(pid: int) -> bool:
        while pid > 1 and pid != driver:
            pid = parents.get(pid, 0)
        return pid == driver

    return [pid for pid in parents if b"Trainable" in titles[pid] and is_below(pid)]


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    study = write_study(
        tmp_path,
        protocol={"epochs": 12, "batch_size": 32},
        methods=["ls"],
        fixed_weights=None,
        weight_sweep=None,
    )
    process = start(tmp_path, study)
    wait_for_records(tmp_path, process, 2)
    workers = workers_of(process.pid)
    if workers:
        os.kill(workers[0], signal.SIGKILL)
    out, err = process.communicate(timeout=400)
    assert workers, "no worker was found to be killed"
    assert process.returncode == 0, (out, err)
    assert "a worker died; its trial is taken up again" in out
    assert "trials ran in 3 worker processes" in out
    assert err == ""
    statuses = [record["status"] for record in ledger(tmp_path).values()]
    assert statuses == ["finished"] * (2 * (2 + 2) + 2 + 2)
