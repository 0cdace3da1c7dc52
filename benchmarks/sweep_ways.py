"""Three ways of running the same trials on two processors; each call runs one and prints JSON.

Used by ``benchmarks/sweep.py``, in a process of its own for each way, so that none leaves warm
workers or memory to the next. All three run :class:`trainables.session.TrialSession`; what differs
is who hands out the trials.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of this checkout
os.environ["PYTHONPATH"] = sys.path[0]
os.environ["OMP_NUM_THREADS"] = "1"

SLOTS = 2
SAMPLE_SECONDS = 0.5


def specification(problem: dict[str, Any], epochs: int, number: int) -> dict[str, Any]:
    """Linear scalarisation at a learning rate of its own."""
    return {
        "problem": problem,
        "method": "ls",
        "training": {"epochs": epochs, "batch_size": problem_batch(problem), "lr": lr(number)},
        "seed": 1000 + number,
        "selection": "loss",
    }


def lr(number: int) -> float:
    return 0.001 * (1 + 0.001 * number)


def problem_batch(problem: dict[str, Any]) -> int:
    return 1 if problem["name"] == "toy" else 128


@contextmanager
def growth() -> Iterator[Callable[[], list[tuple[float, float]]]]:
    """Samples (seconds, private MiB) of this process, in the background."""
    samples: list[tuple[float, float]] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
            held = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
            samples.append((time.time(), held / 1024))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: samples
    finally:
        done.set()
        thread.join()


# ------------------------------------------------------------------ a pool of two processes

_CACHE: list[Any] = []


def _ready() -> None:
    from trainables.data import DataCache

    _CACHE.append(DataCache())


def _run_one(spec: dict[str, Any]) -> float:
    from trainables.run import run_trial

    return float(run_trial(spec, data=_CACHE[0])["seconds"])


def pool(problem: dict[str, Any], epochs: int, trials: int) -> dict[str, Any]:
    """``multiprocessing.Pool``: no search, no records, no recovery."""
    specs = [specification(problem, epochs, number) for number in range(trials)]
    with growth() as samples:
        started = time.time()
        with multiprocessing.get_context("spawn").Pool(SLOTS, _ready) as workers:
            seconds = list(workers.imap_unordered(_run_one, specs))
        return result(started, time.time(), seconds, samples())


# ------------------------------------------------------------------ Ray Tune as it comes


def tune_defaults(problem: dict[str, Any], epochs: int, trials: int) -> dict[str, Any]:
    """A function given to ``Tuner.fit`` with Tune's defaults; a report per epoch."""
    import ray
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        from trainables.data import DataCache
        from trainables.session import TrialSession
        from trainables.spec import TrialSpec

        spec = TrialSpec.from_dict(specification(problem, epochs, config["number"]))
        session = TrialSession(spec, DataCache())
        while session.record is None:
            row = session.step()
            seconds = session.record["seconds"] if session.record else 0.0
            tune.report({"loss": -row["objective"], "trial_seconds": seconds})

    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    with growth() as samples, tempfile.TemporaryDirectory() as storage:
        started = time.time()
        found = tune.Tuner(
            trial,
            param_space={"number": tune.grid_search(list(range(trials)))},
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()
        ended = time.time()
        seconds = [one.metrics["trial_seconds"] for one in found]
    ray.shutdown()
    return result(started, ended, seconds, samples())


# ------------------------------------------------------------------ fairsweep


def fairsweep(problem: dict[str, Any], epochs: int, trials: int) -> dict[str, Any]:
    """A whole study, with its ledger; the clock stops when the last trial has ended."""
    from rich.console import Console

    from sweeps.definition.resolve import resolve
    from sweeps.definition.study import Study
    from sweeps.on_ray.ray_session import ray_session
    from sweeps.running.runner import run

    study = Study.model_validate(
        {
            "name": "overhead",
            "problem": {"name": problem["name"], **problem.get("options", {})},
            "protocol": {"epochs": epochs, "batch_size": problem_batch(problem)},
            "search_space": {"lr": {"low": lr(0), "high": lr(trials)}},
            "methods": ["ls"],
            "budget": {"trials": trials},
            "sampler": "random",
            "selection": "loss",
            "resources": {"concurrent": SLOTS, "keep_checkpoints": "none"},
        }
    )
    resolved = resolve(study)
    with tempfile.TemporaryDirectory() as folder, growth() as samples:
        results = Path(folder) / "results"
        with ray_session(study.resources, Path(folder)), Path(os.devnull).open("w") as nowhere:
            started = time.time()
            outcome = run(resolved, results, console=Console(file=nowhere))
            whole = time.time() - started
        if outcome.exit_code:
            raise SystemExit(f"the study ended with exit code {outcome.exit_code}")
        records = [json.loads(path.read_text()) for path in results.glob("ledger/*.json")]
        ended = max(path.stat().st_mtime for path in results.glob("ledger/*.json"))
        found = result(started, ended, [record["seconds"] for record in records], samples())
    return {**found, "with_report": whole}


def result(
    started: float, ended: float, seconds: list[float], samples: list[tuple[float, float]]
) -> dict[str, Any]:
    held = [(when - started, mib) for when, mib in samples if started <= when <= ended]
    return {
        "wall": ended - started,
        "pure": sum(seconds),
        "trials": len(seconds),
        "memory": held,
    }


WAYS = {"pool": pool, "tune": tune_defaults, "fairsweep": fairsweep}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--problem", type=json.loads, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--trials", type=int, required=True)
    options = parser.parse_args()
    found = WAYS[options.way](options.problem, options.epochs, options.trials)
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main()
