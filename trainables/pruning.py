"""Marks of trials that shall be stopped early: left by a driver, obeyed by the trial itself.

A mark lies beside the trial's checkpoint. A trial that finds one ends when it has completed as many
epochs as the mark says, and writes its record with the status ``"pruned"``; so it does when it was
interrupted meanwhile and goes on elsewhere. A mark of no epochs is for a trial that waits: one that
has begun goes on to its end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from trainables.checkpoint import checkpoint_path
from trainables.files import write_atomically

__all__ = ["PruneMark", "PrunedError", "mark_path", "read_mark", "write_mark"]


class PrunedError(Exception):
    """A trial was stopped early; the message says why."""


@dataclass(frozen=True)
class PruneMark:
    """That a trial shall be stopped.

    Attributes:
        epoch: After how many epochs; 0 if it shall not begin.
        reason: Why, in one sentence.
    """

    epoch: int
    reason: str

    def holds(self, epoch: int) -> bool:
        """Whether a trial that has completed so many epochs shall stop."""
        return epoch >= self.epoch if self.epoch else epoch == 0


def mark_path(results_dir: str | Path, trial_id: str) -> Path:
    """Where the mark of a trial lies in a results folder."""
    return checkpoint_path(results_dir, trial_id).with_name("prune.json")


def write_mark(results_dir: str | Path, trial_id: str, mark: PruneMark) -> None:
    """Marks a trial.

    Raises:
        OSError: If the file cannot be written.
    """
    content = json.dumps({"epoch": mark.epoch, "reason": mark.reason})
    write_atomically(mark_path(results_dir, trial_id), content.encode())


def read_mark(results_dir: str | Path, trial_id: str) -> PruneMark | None:
    """The mark of a trial; ``None`` if there is none, or none that can be read."""
    try:
        content = json.loads(mark_path(results_dir, trial_id).read_bytes())
        return PruneMark(int(content["epoch"]), str(content["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
