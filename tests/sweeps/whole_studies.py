"""Whole studies on Ray in processes of their own: start one, run it, read what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from sweeps_fakes import study_data

COMMAND = [sys.executable, "-m", "sweeps"]
STUDY: dict[str, Any] = {
    "problem": {
        "name": "multi_digits",
        "tasks": "CL_RR",
        "train_pairs": 512,
        "validation_pairs": 128,
        "test_pairs": 128,
    },
    "protocol": {"epochs": 3, "batch_size": 64},
    "methods": ["ls", "fairgrad"],
    "budget": {"trials": 2},
    "weight_sweep": {"points": 3},
    "resources": {"concurrent": 2, "checkpoint_every_seconds": 0.0},
}


def write_study(folder: Path, **changes: Any) -> Path:
    path = folder / "study.yaml"
    data = study_data(**{**STUDY, **changes})
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def start(folder: Path, study: Path) -> subprocess.Popen[str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [*COMMAND, "run", str(study), "--results", str(folder / "results")],
        env={**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C in a terminal reaches the whole group: Ray's processes too.
        start_new_session=True,
    )


def run(folder: Path, study: Path) -> tuple[int, str, str]:
    process = start(folder, study)
    out, err = process.communicate(timeout=400)
    return process.returncode, out, err


def ledger(folder: Path) -> dict[str, dict[str, Any]]:
    files = (folder / "results" / "ledger").glob("*.json")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def wait_for_records(folder: Path, process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 200
    while len(list((folder / "results" / "ledger").glob("*.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def content(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what the clock says."""
    timed = {"seconds", "started", "ended", "host", "sha256", "epochs"}
    clocks = {"train_seconds", "solve_seconds"}
    rows = [
        {key: value for key, value in row.items() if key not in clocks} for row in record["epochs"]
    ]
    return {**{k: v for k, v in record.items() if k not in timed}, "epochs": rows}
