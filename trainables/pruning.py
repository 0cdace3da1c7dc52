"""Marks of trials that shall be stopped early: left by a driver, obeyed by the trial itself.

A mark lies beside the trial's checkpoint. A trial that finds one ends when it has completed as many
epochs as the mark says, and writes its record with the status ``"pruned"``; so it does when it was
interrupted meanwhile and goes on elsewhere. A mark of no epochs is for a trial that waits: one that
has begun goes on to its end.

Mark and record name the rule that decided. Under another rule they count for nothing; those that
name none, of earlier versions, count under every rule.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from trainables.checkpoint import checkpoint_path
from trainables.files import write_atomically

__all__ = ["PruneMark", "PrunedError", "mark_path", "read_mark", "same_rule", "write_mark"]


class PrunedError(Exception):
    """A trial was stopped early; the message says why.

    Args:
        reason: Why.
        rule: The rule that decided; empty if that is not known.
    """

    def __init__(self, reason: str, rule: str = "") -> None:
        super().__init__(reason)
        self.rule = rule


@dataclass(frozen=True)
class PruneMark:
    """That a trial shall be stopped.

    Attributes:
        epoch: After how many epochs; 0 if it shall not begin.
        reason: Why, in one sentence.
        rule: The rule that decided, with its settings; empty if that is not known.
    """

    epoch: int
    reason: str
    rule: str = ""

    def holds(self, epoch: int) -> bool:
        """Whether a trial that has completed so many epochs shall stop."""
        return epoch >= self.epoch if self.epoch else epoch == 0


def same_rule(named: str, rule: str) -> bool:
    """Whether a mark or record that names one rule counts under another; empty is any rule."""
    return not named or not rule or named == rule


def mark_path(results_dir: str | Path, trial_id: str) -> Path:
    """Where the mark of a trial lies in a results folder."""
    return checkpoint_path(results_dir, trial_id).with_name("prune.json")


def write_mark(results_dir: str | Path, trial_id: str, mark: PruneMark) -> None:
    """Marks a trial.

    Raises:
        OSError: If the file cannot be written.
    """
    content = json.dumps({"epoch": mark.epoch, "reason": mark.reason, "rule": mark.rule})
    write_atomically(mark_path(results_dir, trial_id), content.encode())


def read_mark(results_dir: str | Path, trial_id: str) -> PruneMark | None:
    """The mark of a trial; ``None`` if there is none, or none that can be read."""
    try:
        content = json.loads(mark_path(results_dir, trial_id).read_bytes())
        rule = str(content.get("rule") or "")
        return PruneMark(int(content["epoch"]), str(content["reason"]), rule)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
