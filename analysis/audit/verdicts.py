"""Auditing: which convention a column of aggregates follows, and which rows cannot be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis.audit.conventions import Convention, Recomputed, conventions_for
from analysis.audit.hints import hint
from analysis.audit.printed import ColumnKey, Number, PrintedTable, read_tables
from analysis.audit.replacing import in_place_of

SINGLE_TASK = ("stl", "single task", "single-task", "single_task", "independent")
EQUAL_WEIGHTS = ("ew", "ls", "equal weighting", "unit. scal.", "equal")
SUPPORT = 0.6
"""Share of the rows that a convention must explain before the others are called wrong."""
EDGE = 0.9
"""A printed value this far towards an end of its range is possible, but only just."""

EXACT, FITS, ON_EDGE, ODD, WRONG = (
    "exact",
    "within rounding",
    "at the edge of rounding",
    "off while the other rows match",
    "cannot be right",
)


@dataclass(frozen=True)
class AuditedRow:
    """One printed aggregate beside what its columns give.

    Attributes:
        method: Row of the table.
        printed: As printed.
        recomputed: From the columns, with the range that rounding of every entry allows.
        status: exact, within rounding, at its edge, off, or cannot be right.
        hint: What else is odd about a wrong row.
    """

    method: str
    printed: Number
    recomputed: Recomputed
    status: str
    hint: str = ""


@dataclass(frozen=True)
class AuditedColumn:
    """All printed values of one aggregate of one table.

    Attributes:
        table: Source and number of the table.
        metric: Name of the aggregate.
        convention: The convention that explains most rows; None if none explains enough.
        undecided: Other conventions that explain as many rows equally well.
        tried: Rows explained by each convention that was tried.
        rows: The rows under the convention (or under the best one, if none explains enough).
        reference: Row that changes are relative to.
    """

    table: str
    metric: str
    convention: str | None
    undecided: tuple[str, ...]
    tried: dict[str, int]
    rows: tuple[AuditedRow, ...]
    reference: str

    @property
    def explained(self) -> int:
        """Rows that the columns can give."""
        return sum(row.status != WRONG for row in self.rows)

    @property
    def wrong(self) -> tuple[AuditedRow, ...]:
        """Rows that cannot be right; none where no convention is established."""
        if self.convention is None:
            return ()
        return tuple(row for row in self.rows if row.status == WRONG)

    @property
    def doubtful(self) -> tuple[AuditedRow, ...]:
        """Rows that are possible but odd."""
        if self.convention is None:
            return ()
        return tuple(row for row in self.rows if row.status in (ON_EDGE, ODD))


@dataclass(frozen=True)
class Audit:
    """The audit of a file of printed tables.

    Attributes:
        path: The file.
        columns: Every aggregate that could be recomputed.
        skipped: One sentence for each aggregate that could not.
    """

    path: Path
    columns: tuple[AuditedColumn, ...]
    skipped: tuple[str, ...] = field(default=())

    @property
    def wrong(self) -> tuple[tuple[AuditedColumn, AuditedRow], ...]:
        """Every row that cannot be right, with its column."""
        return tuple((column, row) for column in self.columns for row in column.wrong)

    def frame(self) -> pd.DataFrame:
        """One row for each printed aggregate, for further work."""
        return pd.DataFrame(
            [
                {
                    "table": column.table,
                    "aggregate": column.metric,
                    "convention": column.convention,
                    "method": row.method,
                    "printed": row.printed.value,
                    "recomputed": row.recomputed.value,
                    "low": row.recomputed.low,
                    "high": row.recomputed.high,
                    "status": row.status,
                    "hint": row.hint,
                }
                for column in self.columns
                for row in column.rows
            ]
        )


@dataclass(frozen=True)
class _Candidate:
    convention: Convention
    reference: str
    against: list[Number] | None
    found: list[Recomputed]
    place: str = ""

    @property
    def name(self) -> str:
        against = f" against {self.reference}" if self.reference else ""
        return f"{self.convention.name}{against}{self.place}"


def audit(path: str | Path) -> Audit:
    """Recompute every aggregate of published tables from their own columns.

    Each aggregate is tried under every convention in use (mean over metrics or tasks, population or
    sample variance, three tie rules; against single-task or equal weighting). Where a table lacks
    the reference row or a method's columns, those of another table of the same file are taken: the
    five papers share rows. The convention that explains most rows is named, and, if it explains
    enough of them, the rows it cannot explain within rounding cannot be right.

    Args:
        path: Tidy CSV file, see `printed.read_tables`.

    Returns:
        The audit; `text` renders it.

    Raises:
        AnalysisError: The file cannot be read.
    """
    tables = read_tables(path)
    columns, skipped = [], []
    for table in tables:
        for (metric, higher), printed in table.aggregates.items():
            found = _audit_column(table, tables, metric, higher, printed)
            if isinstance(found, str):
                skipped.append(f"{table.title}, {metric}: {found}.")
            else:
                columns.append(found)
    return Audit(Path(path), tuple(columns), tuple(skipped))


def _audit_column(
    table: PrintedTable,
    tables: Sequence[PrintedTable],
    metric: str,
    higher: bool,
    printed: dict[str, Number],
) -> AuditedColumn | str:
    columns = table.columns or next((t.columns for t in tables if t.columns), [])
    if not columns:
        return "there are no columns to recompute it from"
    relative = all(c.metric.lower().startswith(("delta", "gain", "drop")) for c in columns)
    conventions = conventions_for(metric, higher_is_better=higher, relative_columns=relative)
    if not conventions:
        return "its name matches no known convention"
    references = _references(table, tables, columns)
    excluded = {name.lower() for name in (*SINGLE_TASK,)}
    rows = {
        method: numbers
        for method in printed
        if method.lower() not in excluded
        and (numbers := _row(table, tables, method, columns)) is not None
    }
    if not rows:
        return "no row has all the columns"
    candidates = []
    for convention in conventions:
        if not convention.needs_reference:
            found = convention.rule(list(rows.values()), None, columns)
            candidates.append(_Candidate(convention, "", None, found))
            candidates.extend(
                _Candidate(convention, "", None, replaced.found, replaced.place)
                for replaced in in_place_of(convention, table, tables, rows, columns, SINGLE_TASK)
                if "rank" in convention.name
            )
        for name, reference in references.items() if convention.needs_reference else ():
            found = convention.rule(list(rows.values()), reference, columns)
            candidates.append(_Candidate(convention, name, reference, found))
    if not candidates:
        return "there is no single-task or equally weighted row to compare with"
    return _judge(table, metric, columns, {m: printed[m] for m in rows}, rows, candidates)


def _judge(
    table: PrintedTable,
    metric: str,
    columns: list[ColumnKey],
    printed: dict[str, Number],
    rows: dict[str, list[Number]],
    candidates: list[_Candidate],
) -> AuditedColumn:
    numbers = list(printed.values())

    def key(candidate: _Candidate) -> tuple[int, int]:
        pairs = list(zip(numbers, candidate.found, strict=True))
        fits = sum(_fits(n, r) for n, r in pairs)
        return fits, sum(_exact(n, r) for n, r in pairs)

    keys = [key(candidate) for candidate in candidates]
    best = max(range(len(candidates)), key=keys.__getitem__)
    chosen, (fits, exact) = candidates[best], keys[best]
    # Ranks have no rounding to speak of: only exact matches tell tie rules apart.
    rank = "rank" in chosen.convention.name
    support = (exact if rank else fits) / len(numbers)
    established = support >= SUPPORT
    undecided = tuple(
        candidate.name
        for place, candidate in enumerate(candidates)
        if place != best and keys[place] == keys[best]
    )
    audited = []
    for (method, number), found in zip(printed.items(), chosen.found, strict=True):
        status = _status(number, found, exact, len(numbers))
        suspicion = (
            hint(columns, rows[method], number, chosen.against, chosen.convention)
            if status == WRONG
            else ""
        )
        audited.append(AuditedRow(method, number, found, status, suspicion))
    return AuditedColumn(
        table.title,
        metric,
        chosen.name if established else None,
        undecided if established else (),
        {candidate.name: fitted for candidate, (fitted, _) in zip(candidates, keys, strict=True)},
        tuple(audited),
        chosen.reference,
    )


def _exact(number: Number, found: Recomputed) -> bool:
    return bool(abs(number.value - found.value) <= number.half * 1.02 + 1e-12)


def _fits(number: Number, found: Recomputed) -> bool:
    slack = number.half * 1.0001
    return bool(found.low - slack <= number.value <= found.high + slack)


def _status(number: Number, found: Recomputed, exact: int, count: int) -> str:
    if _exact(number, found):
        return EXACT
    if not _fits(number, found):
        return WRONG
    if count > 4 and exact >= 0.75 * count and abs(number.value - found.value) > 4 * number.half:
        return ODD
    end = found.high if number.value > found.value else found.low
    room = abs(end - found.value)
    if room > 0 and abs(number.value - found.value) > EDGE * room:
        return ON_EDGE
    return FITS


def _references(
    table: PrintedTable, tables: Sequence[PrintedTable], columns: list[ColumnKey]
) -> dict[str, list[Number]]:
    """Rows that a change can be relative to: single-task first, then equal weighting."""
    found: dict[str, list[Number]] = {}
    for names in (SINGLE_TASK, EQUAL_WEIGHTS):
        for other in (table, *tables):
            method = next((m for m in other.cells if m.lower() in names), None)
            row = other.complete(method, columns) if method else None
            if method and row and not any(n.value == 0 for n in row):
                found.setdefault(method, row)
                break
    return found


def _row(
    table: PrintedTable, tables: Sequence[PrintedTable], method: str, columns: list[ColumnKey]
) -> list[Number] | None:
    own = table.complete(method, columns)
    if own is not None or table.columns:
        return own
    for other in tables:
        row = other.complete(method, columns)
        if row is not None:
            return row
    return None
