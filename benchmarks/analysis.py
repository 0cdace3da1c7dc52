"""A results folder of 5,000 trials of 100 epochs, analysed on one core: seconds and memory.

Run from the repository root: ``python benchmarks/analysis.py``. It writes a folder of generated
results, analyses it in a process of its own that is bound to one core, prints what that took, and
says whether the bars are met (60 seconds, 2 GB, a report that opens in 2 seconds). Where Chromium
and selenium are there, the report is opened too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# This file shares its name with the package that it measures.
sys.path[0] = str(ROOT)
sys.path.insert(1, str(ROOT / "tests" / "analysis"))

SECONDS, GIGABYTES, OPENING = 60.0, 2.0, 2.0
METHODS = 5
CHILD = """
import json, sys, time, resource
start = time.perf_counter()
from analysis import load, summarise, write_report
imported = time.perf_counter()
results = load(sys.argv[1])
loaded = time.perf_counter()
summarise(results)
summarised = time.perf_counter()
paths = write_report(sys.argv[1])
end = time.perf_counter()
print(json.dumps({
    "import": imported - start, "load": loaded - imported, "summarise": summarised - loaded,
    "write_report": end - summarised, "all": end - start, "cpu": time.process_time(),
    "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    "report": str(paths.report),
}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "results"
        trials = write(folder, options.trials, options.epochs, options.tasks)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(
            f"{trials} trials x {options.epochs} epochs, {options.tasks} tasks, "
            f"{size:.0f} MB on disk; one core"
        )
        found = measure(folder)
        for step in ("import", "load", "summarise", "write_report", "all"):
            print(f"  {step:<13}{found[step]:8.1f} s")
        print(f"  {'of it CPU':<13}{found['cpu']:8.1f} s (less than all where others use the core)")
        print(f"  {'peak memory':<13}{found['gigabytes']:8.2f} GB")
        report = Path(found["report"])
        print(f"  {'report':<13}{report.stat().st_size / 1e6:8.2f} MB")
        opening = open_in_browser(report)
        if opening is None:
            print("  report not opened: Chromium or selenium is missing")
        else:
            print(f"  {'opens in':<13}{opening:8.2f} s")
        met = (
            found["all"] < SECONDS
            and found["gigabytes"] < GIGABYTES
            and (opening is None or opening < OPENING)
        )
        print(
            f"bars ({SECONDS:.0f} s, {GIGABYTES:.0f} GB, opens in {OPENING:.0f} s): "
            + ("met" if met else "MISSED")
        )
    return 0 if met else 1


def write(folder: Path, trials: int, epochs: int, tasks: int) -> int:
    """Generated results with about `trials` trials; returns how many."""
    import pandas as pd
    from synthetic_folder import Plan, write_folder

    seeds, sweep = 10, 101
    others = seeds * (tasks + METHODS + 2) + 2 * sweep + 2 * 2 * 4
    search = max(1, (trials - others) // (METHODS + tasks))
    plan = Plan(
        tasks=tasks, seeds=seeds, epochs=epochs, search=search, sweep=sweep,
        sensitivity=(1.0, 2.0, 5.0, 10.0), name="benchmark",
    )  # fmt: skip
    write_folder(folder, plan)
    return len(pd.read_parquet(folder / "trials.parquet", columns=["trial_id"]))


def measure(folder: Path) -> dict[str, float]:
    """Analyse the folder in a fresh process on one core."""
    one_core = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

    def bind() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)], cwd=ROOT, check=True, capture_output=True,
        text=True, env={**os.environ, **one_core}, preexec_fn=bind,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def open_in_browser(report: Path) -> float | None:
    """Seconds from navigation to the end of the page's script, best of three."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        return None
    if not browser or not driver:
        return None
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-quic"):  # fmt: skip
        options.add_argument(flag)
    page = webdriver.Chrome(options=options, service=Service(driver))
    try:
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            page.get(report.as_uri())
            if page.execute_script("return document.documentElement.dataset.ready") != "true":
                return float("inf")
            taken.append(time.perf_counter() - start)
        return min(taken)
    finally:
        page.quit()


if __name__ == "__main__":
    sys.exit(main())
