"""Rebuilding the tables and the report of a results folder from its ledger."""

from __future__ import annotations

from pathlib import Path

from sweeps.ledger import Ledger
from sweeps.plan import Plan
from sweeps.results import stored_study
from sweeps.runner import write_report
from sweeps.tables import write_tables

__all__ = ["rebuild"]


def rebuild(folder: Path) -> Path:
    """Writes tables, summary, figures and report anew; returns the report.

    Works on a folder of a run that was stopped or that still goes on: it shows what has ended.

    Raises:
        ResultsFolderError: If the folder is none of fairsweep's or its study is damaged.
        AnalysisError: If its tables cannot be analysed.
    """
    folder = folder.expanduser().absolute()
    resolved = stored_study(folder)
    plan = Plan(resolved, Ledger(folder / "ledger").load(), folder / "search", extend=False)
    write_tables(folder, plan.ended)
    return write_report(folder)
