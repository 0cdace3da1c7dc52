"""Rebuilding the tables and the report of a results folder from its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from sweeps.errors import ResultsFolderError
from sweeps.folder.ledger import Ledger, Record
from sweeps.folder.results import DamagedManifestError, stored_study
from sweeps.folder.tables import write_tables
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from sweeps.search.front_table import write_front

__all__ = ["Rebuilt", "rebuild"]

_TABLES = ("trials.parquet", "epochs.parquet")


@dataclass(frozen=True)
class Rebuilt:
    """A report, and a sentence for everything about its folder that a reader must know."""

    report: Path
    notes: tuple[str, ...]


def rebuild(folder: Path, margin: float | None = None) -> Rebuilt:
    """Writes tables, summary, figures and report anew.

    Works on a folder of a run that was stopped or that still goes on: it shows what has ended. A
    folder whose ledger says nothing (copied without it, written by another version) keeps its
    tables, and the report is made from them.

    Args:
        folder: The results folder.
        margin: Equivalence margin of fixed and dynamic weights; by default that of the analysis.

    Raises:
        ResultsFolderError: If the folder is none of fairsweep's, or if its tables can neither be
            made from its ledger nor are there already.
        AnalysisError: If its tables cannot be analysed.
    """
    folder = folder.expanduser().absolute()
    there = [name for name in _TABLES if (folder / name).is_file()]
    ledger = Ledger(folder / "ledger")
    try:
        ended = _ended(folder, ledger)
    except DamagedManifestError:
        raise
    except ResultsFolderError as error:
        if not there or not (folder / "manifest.json").is_file():
            raise
        notes: list[str] = [
            f"The tables could not be made anew from the ledger and are shown as they are: {error}."
        ]
    else:
        notes = []
        if ended or not there:
            notes = [
                f"{folder / name} could not be read and was written anew from the ledger."
                for name in there
                if not _readable(folder / name)
            ]
            write_tables(folder, ended)
        if ledger.damaged:
            notes.append(
                f"{len(ledger.damaged)} damaged records of {ledger.folder} are left out: "
                f"{', '.join(ledger.damaged[:5])}{', ...' if len(ledger.damaged) > 5 else ''}."
            )
    return Rebuilt(write_report(folder, notes, margin), tuple(notes))


def write_report(folder: Path, notes: Sequence[str], margin: float | None) -> Path:
    """Summary, figures and report from the tables; the report says the notes."""
    import analysis

    stated = {} if margin is None else {"margin": margin}
    return Path(analysis.write_report(folder, notes=notes, **stated).report)


def _ended(folder: Path, ledger: Ledger) -> Sequence[tuple[Trial, Record]]:
    """The trials of the folder's study that have ended, by the ledger, which is read.

    The front of its searches, which they determine, is written anew.
    """
    resolved = stored_study(folder)
    plan = Plan(resolved, ledger.load(), folder / "search", extend=False)
    ended = list(plan.ended)
    kept = len(ledger.records())
    if kept and not ended:
        raise ResultsFolderError(
            f"none of the {kept} records in {ledger.folder} is of a trial that this version plans "
            "for the study, so nothing was rebuilt; use the version in manifest.json, or run the "
            "study into another folder with --results"
        )
    write_front(folder, plan)
    return ended


def _readable(path: Path) -> bool:
    try:
        pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError, ValueError):
        return False
    return True
