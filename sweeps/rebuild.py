"""Rebuilding the tables and the report of a results folder from its ledger."""

from __future__ import annotations

from pathlib import Path

from sweeps.errors import ResultsFolderError
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
        ResultsFolderError: If the folder is none of fairsweep's, its study is damaged, or all its
            records are of trials that this version would not run.
        AnalysisError: If its tables cannot be analysed.
    """
    folder = folder.expanduser().absolute()
    resolved = stored_study(folder)
    ledger = Ledger(folder / "ledger").load()
    plan = Plan(resolved, ledger, folder / "search", extend=False)
    ended = list(plan.ended)
    kept = len(ledger.records())
    if kept and not ended:
        raise ResultsFolderError(
            f"none of the {kept} records in {ledger.folder} is of a trial that this version plans "
            "for the study, so nothing was rebuilt; use the version in manifest.json, or run the "
            "study into another folder with --results"
        )
    write_tables(folder, ended)
    return write_report(folder)
