"""Replicates: the best configuration of each method with fresh seeds; the test split is read."""

from __future__ import annotations

from sweeps.phases.context import Context
from sweeps.phases.units import Unit

NAME = "replicate"


def units(context: Context) -> list[Unit]:
    """The replicates of each method."""
    replicate = context.resolved.study.replicate
    if replicate is None:
        return []
    return [
        context.replication(NAME, candidate, replicate.seeds, referred=True)
        for candidate in context.resolved.candidates
    ]
