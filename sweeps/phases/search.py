"""Search: every method over its own space, all with the same budget, selected on validation."""

from __future__ import annotations

from sweeps.phases.context import Context
from sweeps.phases.units import Unit

NAME = "search"


def units(context: Context) -> list[Unit]:
    """The search of each method; none for a study without budget."""
    if context.resolved.study.budget is None:
        return []
    return [
        context.tuning(NAME, candidate, referred=True) for candidate in context.resolved.candidates
    ]
