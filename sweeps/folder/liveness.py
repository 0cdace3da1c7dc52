"""Whether a run writes to a results folder, and what it says of itself.

The lock says whether there is one: the system releases it when the process ends, however that
happens. ``run.json`` says where it runs and since when; of a run that was killed it stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from trainables.files import write_atomically

__all__ = ["LOCK", "RunFacts", "is_locked", "read_run", "write_run"]

LOCK = ".lock"
"""Name of the lock file."""

_NAME = "run.json"


@dataclass(frozen=True)
class RunFacts:
    """What a run says of itself.

    Attributes:
        host: The machine of its driver.
        pid: The driver's process.
        started: When it began, ISO 8601, UTC.
        slots: How many trials run at once.
    """

    host: str
    pid: int
    started: str
    slots: int

    @classmethod
    def here(cls, slots: int) -> RunFacts:
        """Those of this process, beginning now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), now, slots)

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.started)).total_seconds()


def write_run(results: Path, facts: RunFacts) -> None:
    """Writes what a run says of itself, for others to read.

    Raises:
        OSError: If the folder cannot be written.
    """
    write_atomically(results / _NAME, (json.dumps(asdict(facts)) + "\n").encode())


def read_run(results: Path) -> RunFacts | None:
    """What the last run said of itself; ``None`` if that cannot be told."""
    try:
        content = json.loads((results / _NAME).read_bytes())
        facts = RunFacts(**{field.name: content[field.name] for field in fields(RunFacts)})
        _ = facts.age
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return facts if isinstance(facts.slots, int) and isinstance(facts.pid, int) else None


def is_locked(results: Path) -> bool:
    """Whether a run holds the folder; changes nothing, and needs no permission to write."""
    try:
        file = (results / LOCK).open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            # A shared lock for a moment; a run that begins in it tries again.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
