"""Studies, records and an executor for tests of sweeps that train nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sweeps.definition.identity import derived_seed
from sweeps.definition.resolve import resolve
from sweeps.definition.resolved import ResolvedStudy
from sweeps.definition.study_file import parse_study, read_yaml
from sweeps.folder.ledger import Ledger
from sweeps.phases.tuning import Tuning
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from trainables.record import FORMAT, record_path, write_record

TINY = """
name: tiny
problem: {name: multi_digits, tasks: CL_RR, train_pairs: 64, validation_pairs: 32, test_pairs: 32}
protocol: {epochs: 2, batch_size: 32}
search_space: {lr: {low: 5e-4, high: 1e-2, log: true}}
methods: [ls, uw, fairgrad]
budget: {trials: 3, seeds: 2}
baselines: {}
replicate: {seeds: 2}
fixed_weights: {sources: [fairgrad]}
weight_sweep: {points: 3}
resources: {concurrent: 2}
"""

Outcome = tuple[str, float]
"""Status and objective of a trial."""

# several objectives
SEVERAL: dict[str, Any] = {
    "objectives": ["CL.accuracy", "RR.mse"],
    "budget": {"trials": 12},
    "replicate": {"seeds": 2, "max_configurations": 3},
}

# the settings of a study that searches and does nothing else
SEARCH_ONLY: dict[str, Any] = {
    "baselines": None,
    "selection": "loss",
    "fixed_weights": None,
    "weight_sweep": None,
}


def study_data(text: str = TINY, **changes: Any) -> dict[str, Any]:
    """A study as read from YAML, with top-level keys replaced; ``None`` removes one."""
    data: dict[str, Any] = yaml.safe_load(text.replace("5e-4", "0.0005").replace("1e-2", "0.01"))
    for key, value in changes.items():
        if value is None:
            data.pop(key, None)
        else:
            data[key] = value
    return data


def resolved_study(**changes: Any) -> ResolvedStudy:
    """The tiny study with top-level keys replaced."""
    return resolve(parse_study(study_data(**changes)))


def resolved_text(text: str, folder: Path) -> ResolvedStudy:
    """A study from the text of a file."""
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return resolve(parse_study(read_yaml(path)))


def make_plan(resolved: ResolvedStudy, results: Path, **options: Any) -> Plan:
    """A plan over a results folder, as a run makes it."""
    ledger = Ledger(results / "ledger").load()
    if options.get("extend", True):
        ledger.forget_failures()
    return Plan(resolved, ledger, results / "search", **options)


def write_fake_record(
    results: Path,
    trial: Trial,
    status: str = "finished",
    value: float = 0.0,
    weights: Mapping[str, float] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Writes the record that a worker would write."""
    given = metrics or {}
    tasks = {"CL": ("accuracy", 0.9), "RR": ("mse", 0.05)}
    own = trial.spec["method"]["hyperparameters"].get("task")
    metrics = {
        f"{task}.{metric}": given.get(f"{task}.{metric}", number + 1e-4 * (trial.seed % 7))
        for task, (metric, number) in tasks.items()
        if own is None or task == own
    }
    compared = {} if trial.spec["reference"] is None else {"delta_mtm": value, "delta_m": -value}
    weights = {"CL": 1.0, "RR": 3.0} if weights is None else weights
    rows = [
        {
            "epoch": epoch,
            **{f"validation.{name}": number for name, number in metrics.items()},
            **{f"weight.{task}": weight for task, weight in weights.items()},
        }
        for epoch in (1, 2)
    ]
    finished = status == "finished"
    error = None
    if not finished:
        error = {
            "type": "NonFiniteLossError" if status == "diverged" else "RuntimeError",
            "message": f"made to be {status}",
            "task": "CL",
            "epoch": 1,
            "step": 3,
            "traceback": None,
        }
    write_bare_record(
        results,
        trial,
        status=status,
        error=error,
        epochs=rows if finished else rows[:1],
        best_epoch=2 if finished else None,
        validation={**metrics, **compared, "selection": value} if finished else None,
        test=metrics if finished and trial.spec["evaluate_test"] else None,
        seconds=1.0,
    )


def write_bare_record(results: Path, trial: Trial, **told: Any) -> None:
    """Writes a record of what is told, with the trial's own fields and those of no interest."""
    write_record(
        record_path(results, trial.trial_id),
        {
            "format": FORMAT,
            "trial_id": trial.trial_id,
            "phase": trial.phase,
            "spec": dict(trial.spec),
            "counters": {},
            "started": "2026-01-01T00:00:00+00:00",
            "ended": "2026-01-01T00:00:01+00:00",
            "host": "here",
            **told,
        },
    )


def hashed_value(trial: Trial) -> Outcome:
    """An objective that depends on what the trial computes and nothing else."""
    return "finished", derived_seed(trial.trial_id) / 2**32


def execute(
    plan: Plan,
    results: Path,
    outcome: Callable[[Trial], Outcome] = hashed_value,
    *,
    slots: int = 1,
    limit: float = math.inf,
) -> list[Trial]:
    """Runs a plan with trials that only write records; returns them in the order of starting.

    Args:
        plan: The plan.
        results: The results folder.
        outcome: How each trial ends.
        slots: How many run at once; the oldest ends first.
        limit: After how many ended trials to stop, as if interrupted.
    """
    started: list[Trial] = []
    running: list[Trial] = []
    ended = 0
    while ended < limit:
        while len(running) < slots and (trial := plan.next()) is not None:
            started.append(trial)
            running.append(trial)
        if not running:
            assert plan.finished
            break
        trial = running.pop(0)
        status, value = outcome(trial)
        write_fake_record(results, trial, status, value)
        record = plan.ledger.read(trial.trial_id)
        assert record is not None
        plan.end(trial.trial_id, record)
        ended += 1
    return started


def tuning(plan: Plan, variant: str) -> Tuning:
    return plan.context.tunings[variant]


def sizes(plan: Plan) -> dict[str, int]:
    return {name: count.planned for name, count in plan.counts().items()}
