"""Kills a study again and again, continues it, and compares it with the same study undisturbed.

    python docs/studies/resilience/run.py                        # 300 trials, 3 kills
    python docs/studies/resilience/run.py --study docs/studies/resilience/ten_kills.yaml --kills 10

The driver is killed with SIGKILL at seeded random moments; each time the same command continues at
once, while processes of the killed run may still be ending. Exit code 0 if every planned trial has
finished exactly once and every number but clocks is equal to the last bit. Linux only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FAIRSWEEP = [sys.executable, "-m", "sweeps"]
CLOCKS = {"train_seconds", "solve_seconds"}
TIMED = {"seconds", "started", "ended", "host", "sha256", "epochs"}
PATIENCE_S = 1200.0


# ------------------------------------------------------------------ a run


def environment() -> dict[str, str]:
    path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
    defaults = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    return {**defaults, **os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def start(study: Path, results: Path, output: Path) -> subprocess.Popen[bytes]:
    """Starts a run whose output goes to a file."""
    with output.open("ab") as file:
        return subprocess.Popen(
            [*FAIRSWEEP, "run", str(study), "--results", str(results)],
            env=environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a run that may end."""
    return process.wait(timeout=PATIENCE_S)


def records(results: Path) -> list[Path]:
    return sorted((results / "ledger").glob("*.json"))


def descendants(pid: int) -> dict[int, bytes]:
    """The processes below one, with the moments at which they began."""
    parents, began = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)], began[int(folder.name)] = int(fields[1]), fields[19]

    def is_below(child: int) -> bool:
        while child > 1 and child != pid:
            child = parents.get(child, 0)
        return child == pid

    return {child: began[child] for child in parents if child != pid and is_below(child)}


def still_alive(processes: dict[int, bytes]) -> list[int]:
    alive = []
    for pid, began in processes.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[19] == began and fields[0] != b"Z":
            alive.append(pid)
    return alive


def left_over(kills: Sequence[Kill], patience: float = 60.0) -> list[int]:
    """The processes of killed runs that do not end by themselves; some take a while to notice."""
    deadline = time.monotonic() + patience
    while True:
        left = [pid for kill in kills for pid in still_alive(kill.orphans)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


# ------------------------------------------------------------------ killing


@dataclass
class Kill:
    """One kill: when, what was there then, and the processes that it orphaned."""

    ended: int
    seconds: float
    stamps: dict[str, int]
    orphans: dict[int, bytes]


def moments(planned: int, kills: int, seed: int) -> list[tuple[int, float]]:
    """Seeded moments: so many ended trials, and some seconds after the last of them."""
    generator = random.Random(seed)
    trials = sorted(generator.randrange(0, max(1, planned - 1)) for _ in range(kills))
    return [(count, generator.uniform(0.0, 2.0)) for count in trials]


def kill_and_continue(
    study: Path,
    results: Path,
    plan: Sequence[tuple[int, float]],
    between: Callable[[int], None] = lambda number: None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[Kill], int, list[Path]]:
    """Runs a study to its end with a kill at each moment.

    Args:
        study: The study file.
        results: The results folder.
        plan: The moments.
        between: Called after each kill with its number, before the run continues.
        say: Told what happens.

    Returns:
        The kills, the exit code of the last run, and what each run printed.
    """
    done, outputs = [], []
    for number, (count, later) in enumerate((*plan, (None, 0.0)), start=1):
        outputs.append(results.with_name(f"{results.name}-run{number}.txt"))
        began = time.monotonic()
        process = start(study, results, outputs[-1])
        if count is None:
            return done, finish(process), outputs
        while len(records(results)) < count and process.poll() is None:
            if time.monotonic() - began > PATIENCE_S:
                raise TimeoutError(f"run {number} did not come to {count} trials")
            time.sleep(0.02)
        time.sleep(later)
        orphans = descendants(process.pid)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        code = process.wait()
        stamps = {path.name: path.stat().st_mtime_ns for path in records(results)}
        seconds = time.monotonic() - began
        done.append(Kill(len(stamps), seconds, stamps, orphans))
        say(
            f"kill {number}: SIGKILL after {seconds:.1f} s of this run, {len(stamps)} trials had "
            f"ended, {len(orphans)} processes of Ray orphaned (exit code {code})"
        )
        between(number)
    raise AssertionError


# ------------------------------------------------------------------ comparing


def content(path: Path) -> dict[str, Any]:
    """A record without what the clock says."""
    record = json.loads(path.read_bytes())
    rows = [{k: v for k, v in row.items() if k not in CLOCKS} for row in record["epochs"]]
    return {**{k: v for k, v in record.items() if k not in TIMED}, "epochs": rows}


def summary(results: Path) -> pd.DataFrame:
    """The summary without what the clock says."""
    table = pd.read_csv(results / "summary.csv")
    return table[[column for column in table.columns if "second" not in column]]


def survey(results: Path, reference: Path, kills: Sequence[Kill]) -> dict[str, int]:
    """Counts of what must be true of a study that was killed, against one that was not."""
    told = subprocess.run(
        [*FAIRSWEEP, "status", str(results), "--json"],
        env=environment(),
        capture_output=True,
        check=True,
    )
    status = json.loads(told.stdout)
    table = pd.read_parquet(results / "trials.parquet")
    disturbed, undisturbed = records(results), records(reference)
    same = {path.name for path in disturbed} & {path.name for path in undisturbed}
    equal = [
        n for n in same if content(results / "ledger" / n) == content(reference / "ledger" / n)
    ]
    stamps = {path.name: path.stat().st_mtime_ns for path in disturbed}
    again = {n for kill in kills for n, stamp in kill.stamps.items() if stamps.get(n) != stamp}
    return {
        "trials planned": status["planned"],
        "finished exactly once": int(
            (table["status"].eq("finished") & ~table["trial_id"].duplicated(keep=False)).sum()
        ),
        "ended before a kill and run again": len(again),
        "the same trials as undisturbed": len(same),
        "equal to the last bit": len(equal),
        "rows of epochs compared": sum(len(content(path)["epochs"]) for path in undisturbed),
        "summary equal (1 = yes)": int(summary(results).equals(summary(reference))),
    }


def is_whole(counts: dict[str, int]) -> bool:
    planned = counts["trials planned"]
    return (
        counts["finished exactly once"] == planned
        and counts["ended before a kill and run again"] == 0
        and counts["the same trials as undisturbed"] == planned
        and counts["equal to the last bit"] == planned
        and counts["summary equal (1 = yes)"] == 1
    )


# ------------------------------------------------------------------ the command


def printed(output: Path) -> list[str]:
    """What a run printed, with the lines of single trials counted."""
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    trials = [line for line in lines if line.startswith("[")]
    shown = []
    for line in lines:
        if line in trials[1:-1]:
            if not shown[-1].startswith("  ..."):
                shown.append(f"  ... {len(trials) - 2} more lines of trials ...")
        else:
            shown.append(line)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, default=HERE / "study.yaml")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where results go; kept if given")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="resilience-"))
    folder.mkdir(parents=True, exist_ok=True)
    versions = {n: importlib.metadata.version(n) for n in ("ray", "optuna", "torch", "numpy")}
    cpus = len(os.sched_getaffinity(0))
    print(f"{platform.platform()}, {cpus} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))

    began = time.monotonic()
    print(f"\n== undisturbed: fairsweep run {options.study.name}")
    output = folder / "undisturbed.txt"
    code = finish(start(options.study, folder / "undisturbed", output))
    print("\n".join(printed(output)))
    print(f"exit code {code}, {time.monotonic() - began:.0f} s")
    planned = len(records(folder / "undisturbed"))

    print(f"\n== the same study, killed {options.kills} times (seed {options.seed})")
    began = time.monotonic()
    plan = moments(planned, options.kills, options.seed)
    kills, code, outputs = kill_and_continue(options.study, folder / "killed", plan, say=print)
    seconds = time.monotonic() - began
    for number, path in enumerate(outputs, start=1):
        print(f"\n-- run {number} printed")
        print("\n".join(printed(path)))
    print(f"\nexit code {code}, {seconds:.0f} s for all runs")

    counts = survey(folder / "killed", folder / "undisturbed", kills)
    left = left_over(kills)
    print()
    for what, count in {**counts, "processes of killed runs still alive": len(left)}.items():
        print(f"{what:40} {count}")
    if options.folder is None:
        shutil.rmtree(folder)
    return 0 if code == 0 and is_whole(counts) and not left else 1


if __name__ == "__main__":
    sys.exit(main())
