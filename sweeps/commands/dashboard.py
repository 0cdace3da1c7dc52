"""optuna-dashboard on the mirror of a results folder, kept up to date while it is open."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.definition.places import JOURNAL
from sweeps.errors import ResultsFolderError
from sweeps.folder.ledger import Ledger
from sweeps.folder.liveness import is_locked
from sweeps.folder.mirror import Mirror, mirror_prefix, open_mirror, open_or_renew
from sweeps.folder.results import stored_study
from sweeps.planning.plan import Plan
from trainables.optional import optional_import

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.storages import BaseStorage

__all__ = ["open_dashboard"]

logger = logging.getLogger("sweeps")

_EVERY_SECONDS = 5.0


def open_dashboard(folder: Path, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serves optuna-dashboard until it is interrupted.

    Args:
        folder: The results folder.
        host: The interface to listen on.
        port: The port.
        say: Told what is served, and where.

    Raises:
        MissingExtraError: If optuna-dashboard is not installed.
        ResultsFolderError: If the folder is none of fairsweep's, its mirror cannot be opened, or
            the port cannot be had.
    """
    dashboard = optional_import(
        "optuna_dashboard", extra="dashboard", purpose="fairsweep dashboard"
    )
    storage, update = follow(folder.expanduser().absolute())
    added = update()
    over = threading.Event()

    def refresh() -> None:
        while not over.wait(_EVERY_SECONDS):
            try:
                update()
            except Exception as error:  # noqa: BLE001  (the page goes on with what it has)
                logger.warning("the mirror was not brought up to date: %s", error)

    threading.Thread(target=refresh, name="mirror", daemon=True).start()
    say(f"{added} configurations were new to the mirror; it is brought up to date as trials end")
    say(f"http://{host}:{port}/ (Ctrl-C ends it)")
    try:
        dashboard.run_server(storage, host=host, port=port)
    except OSError as error:
        raise ResultsFolderError(
            f"nothing can be served at {host}:{port} ({error.strerror or error}); give another "
            "with --port or --host"
        ) from error
    finally:
        over.set()


def follow(folder: Path) -> tuple[BaseStorage, Callable[[], int]]:
    """The storage of a folder's mirror, and what brings it up to date.

    Raises:
        ResultsFolderError: If the folder is none of fairsweep's or its mirror cannot be opened.
    """
    resolved = stored_study(folder)
    ledger = Ledger(folder / "ledger")
    opened = open_mirror if is_locked(folder) else open_or_renew  # a run mends its own mirror
    storage = opened(resolved.study.mirror or JOURNAL, folder)
    mirrors: list[Mirror] = []

    def update() -> int:
        plan = Plan(resolved, ledger.refresh(), folder / "search", extend=False)
        if not mirrors:
            mirrors.append(Mirror(storage, mirror_prefix(plan)))
        return mirrors[0].update(plan)

    return storage, update
