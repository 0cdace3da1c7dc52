"""Being asked to stop: SIGINT, SIGTERM and ``fairsweep stop`` as a flag that is looked at."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["StopRequest"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A stop may take ten seconds, whatever the main thread is in the middle of.
_LIMIT_SECONDS = 9.5


class StopRequest:
    """Catches SIGINT and SIGTERM; use it as a context, in the main thread.

    The first signal sets a flag, for an orderly end. A second one ends the process at once, and so
    does the end of the time that a stop may take: the ledger is always in order, so nothing is lost
    but the work since the last checkpoints. Signals are read by a thread, since Python's own
    handlers do not run while the main thread waits in a library (Ray joining a cluster).

    Attributes:
        signal: The signal that came, if one did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._event = threading.Event()
        self._over = threading.Event()
        self._before: dict[int, Any] = {}
        self._wakeup: socket.socket | None = None
        self._wakeup_before = -1

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            reading, writing = socket.socketpair()
            writing.setblocking(False)
            self._wakeup = writing
            self._wakeup_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._read, args=(reading,), daemon=True).start()
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
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup_before)
            self._wakeup.close()  # which ends the thread
            self._wakeup = None

    def listen(self) -> None:
        """Installs the handlers, again if somebody else has replaced them."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            previous = signal.signal(number, self._caught)
            self._before.setdefault(number, previous)

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Asks for a stop as if the signal had come; from any thread, and in its own time."""
        if not self._event.is_set():
            self.signal = number
            self._event.set()

    def ask_soon(self, number: int = signal.SIGTERM) -> None:
        """The same within the time that a stop may take: the process ends then, come what may."""
        self.ask(number)
        timer = threading.Timer(_LIMIT_SECONDS, self._end, (number,))
        timer.daemon = True
        timer.start()

    def over(self) -> None:
        """Says that the orderly end was reached: the time for it does not matter any more."""
        self._over.set()

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.ask(number)

    def _read(self, reading: socket.socket) -> None:
        """Reads signals as they arrive; ends with the context."""
        came = 0
        with reading:
            while numbers := reading.recv(1):
                number = numbers[0]
                if number not in _SIGNALS:
                    continue
                came += 1
                if came > 1:
                    os._exit(128 + number)
                self.ask_soon(number)

    def _end(self, number: int) -> None:
        if self._over.is_set():
            return
        name = signal.Signals(number).name
        sys.stderr.write(
            f"\nfairsweep: ended by {name} in the middle of something that takes longer; run the "
            "same command again to continue\n"
        )
        sys.stderr.flush()
        os._exit(128 + number)
