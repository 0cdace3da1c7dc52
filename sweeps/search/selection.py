"""The number that a trial chooses its best epoch by, and that searches maximise by default.

A trial records what its best epoch was chosen by under ``"selection"``, signed so that higher is
better: the study's selection measure, or for a single-task model its headline metric. Searches
maximise that same number, so that choosing an epoch and choosing a configuration agree.
"""

from __future__ import annotations

from sweeps.folder.ledger import Record

__all__ = ["describe_objective", "needs_reference", "objective"]

# Measures that compare with the single-task baselines, and the sign that shows them as defined.
_COMPARED = {"delta_mtm": 1.0, "delta_m": -1.0}


def objective(record: Record) -> float:
    """The number that a search maximises; NaN if the trial recorded none."""
    return record.measure("selection")


def needs_reference(selection: str) -> bool:
    """Whether a selection measure compares with the single-task baselines."""
    return selection in _COMPARED


def describe_objective(selection: str, value: float) -> str:
    """An objective as the user knows the measure, ``"delta_mtm -12.3"``."""
    return f"{selection} {_COMPARED.get(selection, -1.0) * value:.4g}"
