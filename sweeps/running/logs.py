"""Where messages go: our own to ``fairsweep.log`` and the screen, Ray's to ``ray.log``."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from sweeps.folder.disk import is_disk_full
from sweeps.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["SweepLogs"]

_OURS = ("sweeps", "trainables", "mtl_methods")
_THEIRS = ("ray", "optuna", "py.warnings")
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class _ConsoleHandler(logging.Handler):
    """Prints messages as they are, above a live panel if there is one."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(_Formatter())
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one message, without markup: it may quote a study file."""
        try:
            text = self.format(record)
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        except (OSError, ValueError):
            self.handleError(record)


class _Formatter(logging.Formatter):
    """Messages without what a terminal would obey: they may quote a study file."""

    def format(self, record: logging.LogRecord) -> str:
        """The message; what cannot be printed is written as an escape."""
        return printable(super().format(record))


class _LogFile(logging.FileHandler):
    """A log file that a full disk does not turn into tracebacks on the screen."""

    def __init__(self, path: Path, *, delay: bool = False) -> None:
        super().__init__(path, encoding="utf-8", delay=delay)
        self.setFormatter(_Formatter(_FORMAT))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """Says nothing of a full disk, which the sweep itself says."""
        if not is_disk_full(sys.exc_info()[1]):
            super().handleError(record)

    def close(self) -> None:
        """Closes the file, whether or not its last line fits."""
        with contextlib.suppress(OSError):
            super().close()


class SweepLogs:
    """Sends messages to their files for as long as a sweep runs; use it as a context.

    Args:
        folder: The results folder.
        console: The screen.

    Attributes:
        screen: Prints messages; raise its level where a panel shows what they say.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        ours = _LogFile(folder / "fairsweep.log")
        theirs = _LogFile(folder / "ray.log", delay=True)
        self._files = (ours, theirs)
        self.screen: logging.Handler = _ConsoleHandler(console)
        self._handlers = {name: [ours, self.screen] for name in _OURS}
        self._handlers |= {name: [theirs] for name in _THEIRS}
        self._before: dict[str, tuple[list[logging.Handler], bool, int]] = {}
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> SweepLogs:
        self._warnings.__enter__()
        logging.captureWarnings(True)
        self.take_over()
        return self

    def take_over(self) -> None:
        """Gives loggers our handlers alone; again after Ray, when it starts, has put in its own."""
        for name, handlers in self._handlers.items():
            logger = logging.getLogger(name)
            self._before.setdefault(name, (list(logger.handlers), logger.propagate, logger.level))
            logger.handlers = list(handlers)
            logger.propagate = False
            logger.setLevel(logging.INFO)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.captureWarnings(False)
        self._warnings.__exit__(kind, error, trace)
        for name, (handlers, propagate, level) in self._before.items():
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        for file in self._files:
            file.close()
