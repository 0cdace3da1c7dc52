"""What a sweep costs beyond its training: fairsweep, Ray Tune's defaults and a process pool.

``python benchmarks/sweep.py``: the same 64 trials of about 5 s of training on two processors, one
way after the other, each in a process of its own; prints

* wall time / (seconds inside the trials / 2), start of Ray excluded, for each way;
* wall time / that of the pool;

and then, with 2,000 trials of one step each, seconds per further trial and how much the driver's
memory grows with a trial. ``--quick`` takes an eighth of the trials.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WAYS_FILE = Path(__file__).resolve().with_name("sweep_ways.py")
sys.path.insert(0, str(WAYS_FILE.parents[1]))  # of this checkout

DIGITS = {"name": "multi_digits", "options": {"tasks": "CL_RR"}}
TOY = {"name": "toy", "options": {"steps_per_epoch": 1}}
_WARM = 0.25  # of the trials, after which the driver's memory is watched


def calibrated(seconds: float) -> int:
    """Epochs that take so many seconds here."""
    from trainables.data import DataCache
    from trainables.run import run_trial

    spec: dict[str, Any] = {
        "problem": DIGITS,
        "method": "ls",
        "training": {"epochs": 2, "batch_size": 128},
        "selection": "loss",
    }
    data = DataCache()
    run_trial(spec, data=data)  # imports, and the first pass over the data
    spec["training"]["epochs"] = 10
    started = time.perf_counter()
    run_trial(spec, data=data)
    return max(1, round(10 * seconds / (time.perf_counter() - started)))


def run(way: str, problem: dict[str, Any], epochs: int, trials: int) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, str(WAYS_FILE), way, "--problem", json.dumps(problem)),
            *("--epochs", str(epochs), "--trials", str(trials)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


def slope(memory: list[list[float]], wall: float, trials: int) -> float:
    """KiB per trial by least squares, over the time after the warm-up; trials are evenly spread."""
    late = [(when / wall * trials, 1024 * mib) for when, mib in memory if when > _WARM * wall]
    if len(late) < 2:
        return float("nan")
    mean_x, mean_y = (sum(column) / len(late) for column in zip(*late, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in late)
    return sum((x - mean_x) * (y - mean_y) for x, y in late) / spread


def compare(title: str, problem: dict[str, Any], epochs: int, counts: dict[str, int]) -> None:
    print(title)
    print(f"{'':12}{'trials':>8}{'wall s':>10}{'inside s':>10}{'wall/(inside/2)':>17}", end="")
    print(f"{'wall/pool':>11}{'extra s/trial':>15}{'KiB/trial':>11}")
    pool_each = 0.0
    for way, trials in counts.items():
        found = run(way, problem, epochs, trials)
        wall, half = found["wall"], found["pure"] / 2
        pool_each = pool_each or wall / trials
        print(
            f"{way:12}{trials:8}{wall:10.1f}{found['pure']:10.1f}{wall / half:17.3f}"
            f"{wall / trials / pool_each:11.2f}{(wall - half) / trials:15.4f}"
            f"{slope(found['memory'], wall, trials):11.1f}",
            flush=True,
        )
        if "with_report" in found:
            print(f"{'':12}with tables and report: {found['with_report']:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of training in a trial")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    part = 8 if options.quick else 1
    epochs = calibrated(options.seconds)
    compare(
        f"trials of about {options.seconds:g} s ({epochs} epochs) on 2 processors",
        DIGITS,
        epochs,
        dict.fromkeys(("pool", "tune", "fairsweep"), 64 // part),
    )
    compare(
        "trials of one step (Tune's defaults take about a second each: fewer of them)",
        TOY,
        1,
        {"pool": 2000 // part, "tune": 64 // part, "fairsweep": 2000 // part},
    )


if __name__ == "__main__":
    main()
