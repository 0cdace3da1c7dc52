"""An audit as plain text."""

from __future__ import annotations

from analysis.audit.verdicts import WRONG, Audit, AuditedColumn, AuditedRow


def text(audit: Audit, *, every_row: bool = False) -> str:
    """The audit as lines of text: conventions first, then the rows that need a second look.

    Args:
        audit: From `audit.audit`.
        every_row: List all rows, not only those that are wrong or doubtful.
    """
    lines = [f"{audit.path.name}: {len(audit.columns)} columns of aggregates recomputed."]
    for column in audit.columns:
        lines += ["", *_column(column, every_row)]
    if audit.skipped:
        lines += ["", "Not recomputed:", *(f"  {sentence}" for sentence in audit.skipped)]
    wrong = audit.wrong
    lines += ["", f"{len(wrong)} of the printed values cannot be right" + (":" if wrong else ".")]
    lines += [f"  {column.table}, {column.metric}: {row.method}" for column, row in wrong]
    return "\n".join(lines) + "\n"


def _column(column: AuditedColumn, every_row: bool) -> list[str]:
    count = len(column.rows)
    head = f"{column.table}, {column.metric}: "
    if column.convention is None:
        most = max(column.tried.values())
        return [
            f"{head}no convention explains enough rows (at most {most} of {count})",
            *(_row(row, judged=False) for row in column.rows if every_row),
        ]
    lines = [f"{head}{column.convention} ({column.explained} of {count} rows)"]
    if column.undecided:
        lines.append(f"  as well explained by: {'; '.join(column.undecided)}")
    shown = column.rows if every_row else (*column.wrong, *column.doubtful)
    return lines + [_row(row) for row in shown]


def _row(row: AuditedRow, *, judged: bool = True) -> str:
    """A row; without an established convention it is compared with the closest, not judged."""
    found = row.recomputed
    hint = f"; {row.hint}" if row.hint and judged else ""
    status = row.status if judged or row.status != WRONG else "not by this convention"
    return (
        f"  {row.method}: printed {row.printed.text}, columns give {found.value:.4g} "
        f"(rounding allows {found.low:.4g} to {found.high:.4g}): {status}{hint}"
    )
