"""The commands ``fairsweep audit`` and ``fairsweep compare``: analysis without a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeps.printable import printable

__all__ = ["audit", "compare"]


def audit(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE.csv",
            help="A published table: columns method, metric, value, direction, task.",
        ),
    ],
    every_row: Annotated[
        bool, typer.Option("--all", help="List every row, not only the doubtful ones.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write one row per aggregate there.")
    ] = None,
) -> None:
    """Recompute every aggregate of a published table from its own columns.

    Names the convention that each aggregate follows and the rows that cannot be right, with the
    interval that rounding of every printed entry allows.
    """
    from analysis import audit as audits

    found = audits.audit(table)
    typer.echo(printable(audits.text(found, every_row=every_row)))
    if csv is not None:
        found.frame().to_csv(csv, index=False)
        typer.echo(printable(f"rows: {csv}"))


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR DIR ...", help="Two or more results folders.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the report, ranks and figures.")
    ] = Path("comparison"),
    measure: Annotated[
        str, typer.Option(metavar="NAME", help="The measure to compare, on the test split.")
    ] = "delta_mtm",
) -> None:
    """Write one report over several studies: ranks of the methods across problems."""
    from analysis import compare as compare_studies

    paths = compare_studies(folders, output=output, measure=measure)
    typer.echo(printable(f"ranks: {paths.ranks}"))
    typer.echo(printable(f"report: {paths.report}"))
