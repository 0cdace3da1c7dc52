"""The commands ``fairsweep data list | get``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

__all__ = ["data_app"]

data_app = typer.Typer(
    name="data", help="List and obtain data sets.", no_args_is_help=True, rich_markup_mode=None
)

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="The folder of all data sets. [default: $FAIRSWEEP_DATA_DIR, else the user's data "
        "folder]",
    ),
]


@data_app.command("list")
def list_all(data_dir: DataDirOption = None) -> None:
    """List the data sets: what they are, licence, size, whether present and where."""
    from rich.console import Console

    from sweeps.commands.show import dataset_list

    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(dataset_list(data_dir))


@data_app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set, see `data list`.")],
    data_dir: DataDirOption = None,
) -> None:
    """Obtain a data set, verified by its checksums: all of it or nothing."""
    from trainables.datasets import obtain

    signal.signal(signal.SIGTERM, _stop)
    obtained = obtain(name, data_dir)
    how = f"obtained ({obtained.route})" if obtained.route else "already there"
    typer.echo(f"{name}: {how} and verified in {obtained.path}")


def _stop(number: int, _: object) -> NoReturn:
    """Ends as after Ctrl-C, so that what is half there is removed."""
    sys.exit(128 + number)
