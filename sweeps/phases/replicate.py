"""Replicates: the best configuration of each method with fresh seeds; the test split is read.

With several objectives a study may have more than one of the non-dominated configurations of each
method replicated; those after the best are labelled ``fairgrad/2``, ``fairgrad/3``, ...
"""

from __future__ import annotations

from sweeps.phases.context import Context
from sweeps.phases.units import Unit

NAME = "replicate"


def units(context: Context) -> list[Unit]:
    """The replicates of each method."""
    replicate = context.resolved.study.replicate
    if replicate is None:
        return []
    found: list[Unit] = []
    for candidate in context.resolved.candidates:
        several = context.resolved.max_configurations if candidate.space.dimensions() else 1
        found += [
            context.replication(NAME, candidate, replicate.seeds, referred=True, place=place)
            for place in range(several)
        ]
    return found
