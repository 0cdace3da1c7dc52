"""Ranks of variants that a paper put, one at a time, into another of its tables.

The FairGrad paper ranks each of its variants (Tables 9 and 10) not among each other but among the
methods of Tables 3 and 2, in the place of the variant shown there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.audit.conventions import Convention, Recomputed
from analysis.audit.printed import ColumnKey, Number, PrintedTable


@dataclass(frozen=True)
class Replaced:
    """Rows recomputed in the place of one row of another table, and which that is."""

    place: str
    found: list[Recomputed]


def in_place_of(
    convention: Convention,
    table: PrintedTable,
    tables: Sequence[PrintedTable],
    rows: Mapping[str, list[Number]],
    columns: list[ColumnKey],
    excluded: Sequence[str],
) -> list[Replaced]:
    """Each row alone in the place of the row of another table whose name its own starts with.

    Args:
        convention: How rows are ranked.
        table: The table of the rows.
        tables: All tables of the file; those of the same source that have more rows are tried.
        rows: Printed numbers of each method in `columns`.
        columns: Metrics to rank on.
        excluded: Names, in lower case, of reference rows that take no place.

    Returns:
        One entry for each table that has a place for every row.
    """
    tried = []
    for other in tables:
        if other is table or other.source != table.source:
            continue
        complete = {
            method: numbers
            for method in other.cells
            if method.lower() not in excluded
            and (numbers := other.complete(method, columns)) is not None
        }
        homes = {_home(method, complete) for method in rows}
        if len(complete) <= len(rows) or len(homes) != 1 or None in homes:
            continue
        home = str(homes.pop())
        place = list(complete).index(home)
        found = [
            convention.rule(list((complete | {home: row}).values()), None, columns)[place]
            for row in rows.values()
        ]
        tried.append(Replaced(f", each in the place of {home} in {other.name}", found))
    return tried


def _home(method: str, methods: Mapping[str, object]) -> str | None:
    longest = sorted((m for m in methods if method.lower().startswith(m.lower())), key=len)
    return longest[-1] if longest and longest[-1].lower() != method.lower() else None
