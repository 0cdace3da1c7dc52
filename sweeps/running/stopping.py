"""Being asked to stop: SIGINT, SIGTERM and ``fairsweep stop`` as a flag that is looked at."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["StopRequest"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Catches SIGINT and SIGTERM; use it as a context, in the main thread.

    The first signal sets a flag, for an orderly end. A second one ends the process at once: the
    ledger is always in order, so nothing is lost but the work since the last checkpoints.

    Attributes:
        signal: The signal that came, if one did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._event = threading.Event()
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def __enter__(self) -> StopRequest:
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def listen(self) -> None:
        """Installs the handlers, again if somebody else has replaced them."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            previous = signal.signal(number, self._caught)
            self._before.setdefault(number, previous)

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Asks for a stop as if the signal had come; from any thread."""
        if not self._event.is_set():
            self.signal = number
            self._event.set()

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self._event.is_set():
            os._exit(128 + number)
        self.signal = number
        self._event.set()
