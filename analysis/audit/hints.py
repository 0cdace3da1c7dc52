"""What makes a wrong row suspicious, and the value that would put it right."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import optimize

from analysis.audit.conventions import Convention
from analysis.audit.printed import ColumnKey, Number


def hint(
    columns: Sequence[ColumnKey],
    row: Sequence[Number],
    printed: Number,
    against: Sequence[Number] | None,
    convention: Convention,
) -> str:
    """A value printed twice in one row is the first suspect; say what it would have to be."""
    seen: dict[str, int] = {}
    for place, number in enumerate(row):
        if number.text in seen and len(number.text) > 4:
            first, second = columns[seen[number.text]], columns[place]
            said = f"{second.metric} repeats {first.metric} ({number.text})"
            if against is None:
                return said
            value = implied_value(columns, row, against, convention, place, printed.value)
            return said if value is None else f"{said} and would have to be {value:.4g}"
        seen[number.text] = place
    return ""


def implied_value(
    columns: Sequence[ColumnKey],
    row: Sequence[Number],
    reference: Sequence[Number],
    convention: Convention,
    place: int,
    printed: float,
) -> float | None:
    """The value of one column that would make a printed aggregate right, all others as printed.

    Returns:
        The value; None if no value between a tenth of and ten times the reference does.
    """
    base = reference[place].value

    def miss(value: float) -> float:
        changed = [*row[:place], Number("", value, 0.0), *row[place + 1 :]]
        return convention.rule([changed], reference, columns)[0].value - printed

    low, high = sorted((0.1 * base, 10.0 * base))
    if miss(low) * miss(high) > 0:
        return None
    return float(optimize.brentq(miss, low, high))
