"""How long one run of a study may take (``budget.hours``): a timer asks for an orderly stop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["EXIT_OUT_OF_TIME", "allowance", "used_up"]

EXIT_OUT_OF_TIME = 4
"""Exit code of a run that used up its hours before all trials had ended."""


@contextlib.contextmanager
def allowance(hours: float | None, then: Callable[[], None]) -> Iterator[None]:
    """Calls ``then`` once if the context lasts longer than some hours.

    Args:
        hours: How many; ``None`` for no limit.
        then: What to do; called in a thread of its own.
    """
    if hours is None:
        yield
        return
    timer = threading.Timer(3600.0 * hours, then)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def used_up(hours: float, ended: int, planned: int) -> str:
    """What to say of a run that was stopped by its allowance."""
    return (
        f"the {hours:g} hours that one run may take (budget.hours) are used up; {ended} of "
        f"{planned} trials have ended and are kept"
    )
