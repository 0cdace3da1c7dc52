"""Published tables as printed: every number with the interval that its rounding allows."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from analysis.errors import AnalysisError

REQUIRED = ("method", "metric", "value", "direction")
AGGREGATE_TASKS = {"all", "avg", "average", "overall", "total"}
DIRECTIONS = {"higher": True, "lower": False}
ERRORS = ("_std", "_stderr")
"""Endings of the metrics that are errors of others; they are not audited and need no direction."""


@dataclass(frozen=True)
class Number:
    """A printed number: its text, its value, and half a unit of its last digit."""

    text: str
    value: float
    half: float

    @property
    def low(self) -> float:
        """Smallest number that rounds to it."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """Largest number that rounds to it."""
        return self.value + self.half


@dataclass(frozen=True)
class ColumnKey:
    """A metric of a task in a printed table."""

    task: str
    metric: str
    higher_is_better: bool


@dataclass
class PrintedTable:
    """One table of one source.

    Attributes:
        source: Paper or file it is from.
        name: Number of the table.
        columns: Its metrics, in order.
        cells: Printed values by method and column.
        aggregates: Printed aggregates by name and method, with their direction.
    """

    source: str
    name: str
    columns: list[ColumnKey] = field(default_factory=list)
    cells: dict[str, dict[ColumnKey, Number]] = field(default_factory=dict)
    aggregates: dict[tuple[str, bool], dict[str, Number]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Source and number."""
        return f"{self.source}, {self.name}" if self.source else self.name

    def complete(self, method: str, columns: list[ColumnKey]) -> list[Number] | None:
        """A method's values in all `columns`, or None if one is missing."""
        row = self.cells.get(method, {})
        return [row[c] for c in columns] if all(c in row for c in columns) else None


def parse_number(text: str) -> Number:
    """Read a printed number.

    Raises:
        ValueError: It is no decimal number.
    """
    cleaned = text.strip().replace("−", "-").replace(",", "").rstrip("%")
    value = float(cleaned)
    mantissa, _, exponent = cleaned.lower().partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return Number(text.strip(), value, 0.5 * 10.0**-decimals)


def read_tables(path: str | Path) -> list[PrintedTable]:
    """Read a tidy CSV file of printed tables.

    Args:
        path: File with columns ``method``, ``metric``, ``value`` (as printed), ``direction``
            (``higher`` or ``lower``; errors, of which the metric ends in ``_std`` or ``_stderr``,
            need none and are skipped) and optionally ``task`` (``all`` or ``avg`` marks an
            aggregate; by default each metric is a task of its own), ``source_file`` and ``table``.

    Returns:
        The tables in order of appearance.

    Raises:
        AnalysisError: The file is missing, is no CSV, lacks a column, has a row of another length
            than its head, a direction that is neither of the two, or a value that is no number.
    """
    path = Path(path)
    tables: dict[tuple[str, str], PrintedTable] = {}
    for line, row in _rows(path):
        metric = row["metric"].strip()
        if metric.endswith(ERRORS):
            continue
        higher = DIRECTIONS.get(row["direction"].strip().lower())
        if higher is None:
            raise AnalysisError(
                f"{path}, line {line}: the direction {row['direction']!r} of {metric!r} is "
                f"unknown; valid: {', '.join(DIRECTIONS)} (none is needed where a metric ends in "
                f"{' or '.join(ERRORS)})."
            )
        try:
            number = parse_number(row["value"])
        except ValueError:
            raise AnalysisError(
                f"{path}, line {line}: the value {row['value']!r} is no number."
            ) from None
        source, name = row.get("source_file") or "", row.get("table") or path.stem
        table = tables.setdefault((source, name), PrintedTable(source, name))
        _add(table, row["method"].strip(), metric, row.get("task"), higher, number)
    return list(tables.values())


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Every row that is not empty, by column, with the line it starts in."""
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                rows.append((line, row))
                line = reader.line_num + 1
    except FileNotFoundError:
        raise AnalysisError(f"There is no table {path}.") from None
    except OSError as error:
        raise AnalysisError(
            f"{path} cannot be read ({error.strerror}); needed: a CSV file with the columns "
            f"{', '.join(REQUIRED)}."
        ) from None
    except csv.Error as error:
        raise AnalysisError(
            f"{path}, line {line}: not a row of a CSV file ({error}); a quote that opens a value "
            "must be closed right before the next comma or the end of the line."
        ) from None
    except UnicodeDecodeError as error:
        raise AnalysisError(f"{path} is not a CSV file ({error}).") from None
    names = rows[0][1] if rows else []
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise AnalysisError(
            f"{path} lacks the column(s) {', '.join(missing)}; needed: {', '.join(REQUIRED)}."
        )
    found = [(line, row) for line, row in rows[1:] if row]
    for line, row in found:
        if len(row) != len(names):
            raise AnalysisError(
                f"{path}, line {line}: {len(row)} value(s) where the head has {len(names)} columns "
                f"({', '.join(names)})."
            )
    return [(line, dict(zip(names, row, strict=True))) for line, row in found]


def _add(
    table: PrintedTable, method: str, metric: str, task: str | None, higher: bool, number: Number
) -> None:
    task = (task or metric).strip()
    if task.lower() in AGGREGATE_TASKS:
        table.aggregates.setdefault((metric, higher), {}).setdefault(method, number)
        return
    key = ColumnKey(task, metric, higher)
    if key not in table.columns:
        table.columns.append(key)
    table.cells.setdefault(method, {}).setdefault(key, number)
