"""Being asked to stop from elsewhere: a file in the results folder.

A file reaches a run from any shell and any machine that sees the folder, where a signal does not.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sweeps.errors import ResultsFolderError
from trainables.files import write_atomically

__all__ = ["ask_to_stop", "clear_stop", "watch_for_stop"]

logger = logging.getLogger("sweeps")

_NAME = "stop"
_LOOK_SECONDS = 0.5


def ask_to_stop(results: Path) -> None:
    """Asks the run of a results folder to stop.

    Raises:
        ResultsFolderError: If the folder cannot be written.
    """
    try:
        write_atomically(results / _NAME, b"stop\n")
    except OSError as error:
        raise ResultsFolderError(
            f"{results} cannot be written ({error.strerror or error}), so its run cannot be asked "
            "to stop; send it SIGTERM instead"
        ) from error


def clear_stop(results: Path) -> None:
    """Takes a request back, so that it does not stop the next run."""
    (results / _NAME).unlink(missing_ok=True)


@contextlib.contextmanager
def watch_for_stop(results: Path, asked: Callable[[], None]) -> Iterator[None]:
    """Calls ``asked`` once if a request appears while the context lasts.

    Args:
        results: The results folder.
        asked: What to do; called in a thread of its own.
    """
    clear_stop(results)
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            if (results / _NAME).exists():
                logger.info("fairsweep stop asks this run to stop")
                asked()
                return

    thread = threading.Thread(target=look, name="stop-file", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        # A folder that takes no changes any more has said so elsewhere.
        with contextlib.suppress(OSError):
            clear_stop(results)
