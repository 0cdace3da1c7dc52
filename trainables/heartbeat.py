"""Signs of life of a running trial, for whoever watches the results folder.

A trial that runs has a file ``running/<trial_id>.json`` in the results folder: who runs it and how
far it is. Its modification time moves while steps are taken, batches evaluated and arrays loaded,
so that a trial that hangs can be told from one with long epochs or evaluations, from any machine
that sees the folder. A worker that hangs cannot say where; a thread of the interpreter, which needs
nothing of the worker's own, notes it in ``running/<trial_id>.trace``.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from trainables.files import write_atomically

__all__ = ["Heartbeat", "heartbeat_path", "read_heartbeat", "trace_path"]

# Seconds between two signs at most, and between two accounts of epochs at least.
_INTERVAL = 5.0
_ACCOUNT_INTERVAL = 0.5
# The place of a hang is noted at this part of the time after which the worker is killed.
_NOTED_AT = 0.8


def heartbeat_path(results_dir: str | Path, trial_id: str) -> Path:
    """Where the sign of life of a trial lies in a results folder."""
    return Path(results_dir) / "running" / f"{trial_id}.json"


def trace_path(results_dir: str | Path, trial_id: str) -> Path:
    """Where the place lies at which a trial hangs."""
    return heartbeat_path(results_dir, trial_id).with_suffix(".trace")


def read_heartbeat(path: Path) -> dict[str, Any] | None:
    """Reads a sign of life; ``None`` if there is none or it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


class Heartbeat:
    """Gives signs of life of one trial; never fails the trial, whatever the disk says.

    Args:
        results_dir: The results folder.
        trial_id: The trial.
        who: What else is to be said: phase, label, node, ...
        stall_s: Seconds without progress after which somebody will kill this process; the place of
            the hang is noted shortly before. ``None`` if nobody will.
    """

    def __init__(
        self,
        results_dir: str | Path,
        trial_id: str,
        who: Mapping[str, Any] | None = None,
        *,
        stall_s: float | None = None,
    ) -> None:
        self._path = heartbeat_path(results_dir, trial_id)
        self._content: dict[str, Any] = {
            **(who or {}),
            "trial_id": trial_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "epoch": 0,
        }
        self._stall_s = stall_s
        self._interval = _INTERVAL if stall_s is None else min(_INTERVAL, stall_s / 10.0)
        self._trace: IO[str] | None = None
        self._next = self._next_account = 0.0
        self._write()
        self.beat()

    def beat(self) -> None:
        """Something was done, a step or a batch; cheap enough to be called after each."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._interval
        try:
            os.utime(self._path)
        except FileNotFoundError:
            self._write()
        except OSError:
            pass
        self._note_place_later()

    def completed(self, epoch: int) -> None:
        """An epoch was completed."""
        self._content["epoch"] = epoch
        if time.monotonic() >= self._next_account:
            self._write()
        self.beat()

    def end(self) -> None:
        """The trial has ended, or goes on elsewhere."""
        if self._trace is not None:
            faulthandler.cancel_dump_traceback_later()
            self._trace.close()
            self._trace = None
        for path in (self._path, self._path.with_suffix(".trace")):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._next_account = time.monotonic() + _ACCOUNT_INTERVAL
        # A full disk is said by what must be written, not by this.
        with contextlib.suppress(OSError):
            write_atomically(self._path, (json.dumps(self._content) + "\n").encode(), sync=False)

    def _note_place_later(self) -> None:
        if self._stall_s is None:
            return
        try:
            if self._trace is None:
                self._trace = self._path.with_suffix(".trace").open("w", encoding="utf-8")
            faulthandler.dump_traceback_later(_NOTED_AT * self._stall_s, file=self._trace)
        except (OSError, RuntimeError):
            self._stall_s = None
