"""Baselines: one single-task model per task, tuned with the budget of every method.

The best configuration of each task is replicated with fresh seeds, on which the test split is read;
its validation metrics are the reference that methods are measured against.
"""

from __future__ import annotations

from sweeps.phases.context import Context
from sweeps.phases.units import Unit

NAME = "baselines"


def units(context: Context) -> list[Unit]:
    """For each task its search, and its replicates if the study has any."""
    found: list[Unit] = []
    replicates = context.resolved.baseline_seeds
    for candidate in context.resolved.baselines:
        found.append(context.tuning(NAME, candidate, referred=False))
        if replicates:
            found.append(context.replication(NAME, candidate, replicates, referred=False))
    return found
