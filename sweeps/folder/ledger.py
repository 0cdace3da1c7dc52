"""The ledger as the driver sees it: what has ended, and how.

A worker writes ``ledger/<trial_id>.json`` when its trial ends (:mod:`trainables.record`); the
driver only writes for trials whose worker died. A damaged file counts as absent, so that its trial
runs again.
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeps.errors import ResultsFolderError
from sweeps.planning.trials import Trial
from trainables.errors import CorruptFileError
from trainables.record import FORMAT, read_record, write_record

__all__ = ["Ledger", "Record"]

logger = logging.getLogger("sweeps")


@dataclass(frozen=True)
class Record:
    """What the ledger holds of one trial that ended.

    Attributes:
        path: Its file.
        summary: All of the record but its specification and the rows of its epochs.
    """

    path: Path
    summary: Mapping[str, Any]

    @property
    def trial_id(self) -> str:
        """The identity of what the trial computed."""
        return str(self.summary["trial_id"])

    @property
    def status(self) -> str:
        """How the trial ended: ``"finished"``, ``"diverged"``, ``"failed"`` or ``"pruned"``."""
        return str(self.summary["status"])

    @property
    def skipped(self) -> bool:
        """Whether the trial was given up before its first epoch."""
        return self.status == "pruned" and not self.summary.get("completed_epochs")

    @property
    def rule(self) -> str:
        """The rule by which the trial was stopped early; empty if none is named."""
        return str(self.summary.get("rule") or "")

    @property
    def seconds(self) -> float:
        """Seconds that the trial took."""
        return float(self.summary.get("seconds") or 0.0)

    @property
    def error(self) -> Mapping[str, Any]:
        """What went wrong; empty for a finished trial."""
        return self.summary.get("error") or {}

    def measure(self, name: str) -> float:
        """A validation measure at the best epoch, by its key in the record; NaN if absent."""
        value = (self.summary.get("validation") or {}).get(name)
        return float(value) if isinstance(value, int | float) else math.nan

    def epochs(self) -> list[dict[str, Any]]:
        """The rows of the epochs, read from the file.

        Raises:
            ResultsFolderError: If the file has been damaged or removed meanwhile.
        """
        try:
            return list(read_record(self.path)["epochs"])
        except (OSError, CorruptFileError) as error:
            raise ResultsFolderError(
                f"{error}; run the study again to repeat this trial"
            ) from error


class Ledger:
    """The records of a results folder.

    Args:
        folder: The ``ledger`` folder; it need not be there.

    Attributes:
        damaged: Names of the files that were left out because they are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []
        self._records: dict[str, Record] = {}
        self._read: dict[str, int] = {}

    def load(self) -> Ledger:
        """Reads all records."""
        self._records.clear()
        self.damaged.clear()
        for path in sorted(self.folder.glob("*.json")):
            self._take(path)
        return self

    def refresh(self) -> Ledger:
        """Reads what has come, changed or gone since the last time."""
        there: dict[str, int] = {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                there[path.stem] = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            if self._read.get(path.stem) != there[path.stem]:
                self._records.pop(path.stem, None)
                self.damaged = [name for name in self.damaged if name != path.name]
                self._take(path)
        for trial_id in set(self._read) - set(there):
            self._records.pop(trial_id, None)
        self._read = there
        return self

    def get(self, trial_id: str) -> Record | None:
        """The record of a trial, ``None`` if it has not ended."""
        return self._records.get(trial_id)

    def read(self, trial_id: str) -> Record | None:
        """Reads the record of a trial that has just ended; ``None`` if there is no intact one."""
        path = self.folder / f"{trial_id}.json"
        return self._take(path) if path.is_file() else None

    def records(self) -> Sequence[Record]:
        """All records."""
        return list(self._records.values())

    def forget_failures(self) -> int:
        """Forgets failed trials, so that they run again; their files stay until replaced."""
        failed = [trial_id for trial_id, r in self._records.items() if r.status == "failed"]
        for trial_id in failed:
            del self._records[trial_id]
        return len(failed)

    def write_failure(
        self, trial: Trial, kind: str, message: str, trace: str | None = None
    ) -> Record:
        """Records the failure of a trial whose worker could not do so itself.

        Args:
            trial: The trial.
            kind: The type of the error.
            message: What happened, a sentence.
            trace: Where it happened, as far as that is known.

        Raises:
            ResultsFolderError: If the record cannot be written and read back.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        error = {
            "type": kind,
            "message": message,
            **dict.fromkeys(("task", "epoch", "step")),
            "traceback": trace,
        }
        path = self.folder / f"{trial.trial_id}.json"
        try:
            write_record(
                path,
                {
                    "format": FORMAT,
                    "trial_id": trial.trial_id,
                    "phase": trial.phase,
                    "spec": dict(trial.spec),
                    "status": "failed",
                    "error": error,
                    "epochs": [],
                    "best_epoch": None,
                    "validation": None,
                    "test": None,
                    "seconds": 0.0,
                    "counters": {},
                    "started": now,
                    "ended": now,
                    "host": socket.gethostname(),
                },
            )
        except OSError as reason:
            raise ResultsFolderError(
                f"{path} cannot be written ({reason.strerror or reason}); make room or fix the "
                "folder and run the same command again"
            ) from reason
        taken = self._take(path)
        if taken is None:
            raise ResultsFolderError(f"{self.folder} does not keep what is written to it")
        return taken

    def _take(self, path: Path) -> Record | None:
        try:
            data = read_record(path)
        except (OSError, CorruptFileError) as error:
            self._leave_out(path, str(error))
            return None
        if data.get("trial_id") != path.stem:
            self._leave_out(path, f"the ledger record {path} belongs to another trial")
            return None
        # The plan knows the specification; epochs are read when they are needed.
        summary = {k: v for k, v in data.items() if k not in {"epochs", "spec"}}
        record = Record(path, {**summary, "completed_epochs": len(data["epochs"])})
        self._records[record.trial_id] = record
        return record

    def _leave_out(self, path: Path, reason: str) -> None:
        self.damaged.append(path.name)
        logger.warning("%s; its trial counts as not run", reason)
