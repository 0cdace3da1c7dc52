"""Trials that train nothing and are stopped early by the real rules."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sweeps_fakes import write_bare_record

from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial


def quality(trial: Trial) -> float:
    return -abs(math.log10(trial.spec["training"]["lr"]) + 2.5) - 0.01 * (trial.seed % 7)


def run(plan: Plan, results: Path, limit: int = 10_000, *, named: bool = True) -> list[Trial]:
    """Runs trials one after another, epoch by epoch, stopping those that should be."""
    started = []
    while len(started) < limit and (trial := plan.next()) is not None:
        started.append(trial)
        rows: list[dict[str, Any]] = []
        reason = None
        while len(rows) < trial.epochs and reason is None:
            value = quality(trial) + 0.01 * len(rows)
            rows.append({"epoch": len(rows) + 1, "selection": value, "weight.CL": 1.0})
            rows[-1]["weight.RR"] = 1.0
            reason = plan.reported(trial.trial_id, len(rows), value)
        write(results, trial, rows, reason, plan.rule(trial.trial_id) if named else "")
        record = plan.ledger.read(trial.trial_id)
        assert record is not None
        plan.end(trial.trial_id, record)
    return started


def write(
    results: Path, trial: Trial, rows: list[dict[str, Any]], reason: str | None, rule: str = ""
) -> None:
    value = rows[-1]["selection"] if rows else math.nan
    metrics = {"CL.accuracy": 0.9, "RR.mse": 0.05, "selection": value}
    error = {"type": "PrunedError", "message": reason, "task": None, "epoch": None, "step": None}
    write_bare_record(
        results,
        trial,
        status="finished" if reason is None else "pruned",
        error=None if reason is None else error | {"traceback": None},
        epochs=rows,
        best_epoch=len(rows) or None,
        validation=metrics if rows else None,
        test=metrics if trial.spec["evaluate_test"] else None,
        seconds=0.5 * len(rows),
        **({"rule": rule} if reason is not None and rule else {}),
    )


CHANGES: dict[str, Any] = {
    "protocol": {"epochs": 9, "batch_size": 32},
    "budget": {"trials": 8},
    "scheduler": "asha",
}
