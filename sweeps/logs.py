"""Where messages go: our own to ``fairsweep.log`` and the screen, Ray's to ``ray.log``."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["sweep_logs"]

_OURS = ("sweeps", "trainables", "mtl_methods")
_THEIRS = ("ray", "optuna", "py.warnings")
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class _ConsoleHandler(logging.Handler):
    """Prints messages as they are, above a live panel if there is one."""

    def __init__(self, console: Console, level: int) -> None:
        super().__init__(level)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one message, without markup: it may quote a study file."""
        try:
            text = self.format(record)
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        except (OSError, ValueError):
            self.handleError(record)


@contextlib.contextmanager
def sweep_logs(folder: Path, console: Console) -> Iterator[None]:
    """Sends messages to their files for as long as a sweep runs.

    In a terminal, where a panel shows progress, only warnings are printed; elsewhere everything is.

    Args:
        folder: The results folder.
        console: The screen.
    """
    ours = logging.FileHandler(folder / "fairsweep.log", encoding="utf-8")
    theirs = logging.FileHandler(folder / "ray.log", encoding="utf-8", delay=True)
    for handler in (ours, theirs):
        handler.setFormatter(logging.Formatter(_FORMAT))
    screen = _ConsoleHandler(console, logging.WARNING if console.is_terminal else logging.INFO)
    with contextlib.ExitStack() as stack:
        for name in _OURS:
            stack.enter_context(_redirected(name, [ours, screen]))
        for name in _THEIRS:
            stack.enter_context(_redirected(name, [theirs]))
        stack.callback(ours.close)
        stack.callback(theirs.close)
        stack.enter_context(warnings.catch_warnings())
        logging.captureWarnings(True)
        stack.callback(logging.captureWarnings, False)
        yield


@contextlib.contextmanager
def _redirected(name: str, handlers: list[logging.Handler]) -> Iterator[None]:
    """Gives a logger handlers of ours alone, and its own back at the end."""
    logger = logging.getLogger(name)
    before = (list(logger.handlers), logger.propagate, logger.level)
    logger.handlers = list(handlers)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[0], before[1]
        logger.setLevel(before[2])
