"""Commands about a run, given from another shell: ``fairsweep status``, ``stop``, ``dashboard``."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.folder.status import StatusReader

__all__ = ["dashboard", "status", "stop"]

_WIDTH = 140
_EXIT_NOT_STOPPED = 3
_LOOK_SECONDS = 0.2

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]


def status(
    folder: FolderArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again until no run is alive.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.5, help="How often --watch looks.")
    ] = 5.0,
) -> None:
    """Show how a study stands: phases, trials by state, errors, best so far, rate, time left.

    Reads the results folder and changes nothing, while a run is alive or after, from any machine
    that sees the folder. With --json and --watch there is one line of JSON for each look.
    """
    from sweeps.folder.status import StatusReader

    # What a reader is warned of is part of what is shown.
    logger = logging.getLogger("sweeps")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        reader = StatusReader(folder)
        if as_json:
            _print_json(reader, every if watch else None)
        else:
            _print(reader, every if watch else None)
    finally:
        logger.setLevel(before)


def _print_json(reader: StatusReader, every: float | None) -> None:
    while True:
        now = reader.read()
        text = json.dumps(now.as_json(), indent=1 if every is None else None, allow_nan=False)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        if every is None or not now.alive:
            return
        time.sleep(every)


def _print(reader: StatusReader, every: float | None) -> None:
    from rich.live import Live

    from sweeps.commands.status_view import status_view

    console = _console()
    if every is None:
        console.print(status_view(reader.read()))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            now = reader.read()
            live.update(status_view(now), refresh=True)
            if not now.alive:
                return
            time.sleep(every)


def stop(
    folder: FolderArgument,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="How long to wait for its end.")
    ] = 60.0,
) -> None:
    """Stop the run of a results folder from another shell; running trials save their state.

    Works from any machine that sees the folder. The run ends as after SIGTERM, with exit code 143;
    running the study again continues it. Exit codes: 0 it has stopped; 2 no run is alive; 3 it is
    still alive after SECONDS.
    """
    from sweeps.errors import ResultsFolderError
    from sweeps.folder.liveness import is_locked, read_run
    from sweeps.folder.results import read_manifest
    from sweeps.running.stop_file import ask_to_stop, clear_stop

    folder = folder.expanduser().absolute()
    if not folder.is_dir() or read_manifest(folder) is None:
        raise ResultsFolderError(f"{folder} has no manifest.json, so it is no results folder")
    if not is_locked(folder):
        raise ResultsFolderError(f"no run writes to {folder}, so there is none to stop")
    run = read_run(folder)
    where = "" if run is None else f" (process {run.pid} on {run.host})"
    deadline = time.monotonic() + wait
    ask_to_stop(folder)
    while is_locked(folder):
        if time.monotonic() > deadline:
            _say(
                f"the run{where} has been asked to stop and is still alive after {wait:g} s; "
                "see fairsweep.log, or kill it: what has ended is kept"
            )
            raise typer.Exit(_EXIT_NOT_STOPPED)
        time.sleep(_LOOK_SECONDS)
        ask_to_stop(folder)  # a run that has just begun clears what an earlier one has left
    clear_stop(folder)
    _say(f"the run{where} has stopped; run the study again to continue")


def dashboard(
    folder: FolderArgument,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="The interface to listen on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535)] = 8080,
) -> None:
    """Open optuna-dashboard on the searches of a study, while it runs or after.

    Shows the mirror of the study (study key mirror, by default the file mirror.journal in DIR),
    which is made from the ledger and brought up to date every few seconds. What is changed in the
    dashboard changes the mirror only.
    """
    from sweeps.commands.dashboard import open_dashboard

    open_dashboard(folder, host, port, _say)


def _say(sentence: str) -> None:
    from sweeps.printable import printable

    _console().print(printable(sentence), markup=False, highlight=False, soft_wrap=True)


def _console() -> Console:
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)
