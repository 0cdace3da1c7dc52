"""The command ``fairsweep flatness``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["flatness"]


class Split(StrEnum):
    """The splits to measure on; the test split is for the trials of a study alone."""

    TRAIN = "train"
    VALIDATION = "validation"


class Parameters(StrEnum):
    """What derivatives are taken by."""

    ALL = "all"
    SHARED = "shared"


def flatness(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    trial: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A trial; repeat for more. [default: all with checkpoint]"),
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only trials of this method or label.")
    ] = None,
    items: Annotated[
        int, typer.Option(metavar="N", min=1, help="Items to measure on, the same for all trials.")
    ] = 2000,
    split: Annotated[Split, typer.Option(help="The split they are from.")] = Split.TRAIN,
    parameters: Annotated[
        Parameters, typer.Option(help="Derivatives by all parameters or the shared ones.")
    ] = Parameters.ALL,
) -> None:
    """Measure the flatness of trained models: largest Hessian eigenvalue and gradient variance.

    Reads the checkpoints of best epochs (study key resources.keep_checkpoints) and writes
    DIR/flatness.csv after every trial; rows of earlier measurements stay. Lower is flatter. The
    weighted sum has equal weights 1/K.
    """
    from rich.console import Console

    from sweeps.commands.flatness_table import (
        choose_trials,
        measure,
        read_table,
        screen_table,
        write_table,
    )

    trials = choose_trials(folder, trial or (), method)
    earlier = read_table(folder)
    console = Console() if sys.stdout.isatty() else Console(width=140)
    found = []
    path = folder
    measured = measure(folder, trials, items=items, split=split.value, parameters=parameters.value)
    for number, rows in enumerate(measured, start=1):
        found += rows
        path = write_table(folder, earlier, found)
        seconds = sum(row["seconds"] for row in rows)
        console.print(
            f"{number}/{len(trials)} {rows[0]['variant']} seed {rows[0]['seed']} "
            f"({rows[0]['trial_id']}): {seconds:.1f} s",
            markup=False,
            highlight=False,
        )
    console.print(screen_table(found))
    console.print(f"table: {path}", markup=False, highlight=False, soft_wrap=True)
