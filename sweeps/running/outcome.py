"""How a run ended, and the exit code that says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sweeps.folder.ledger import Record
from sweeps.planning.plan import PhaseCount, PhaseTotals
from sweeps.planning.trials import Trial
from sweeps.running.allowance import EXIT_OUT_OF_TIME

__all__ = ["Outcome"]

_EXIT_FAILED = 3


@dataclass
class Outcome(PhaseTotals):
    """How a run ended.

    Attributes:
        folder: The results folder.
        phases: How far each phase is.
        failed: The trials that failed, with their records.
        diverged: The trials that diverged, with their records.
        left_out: One sentence for each part that could not run.
        notices: One sentence for each result that is not what the study asked for.
        reused: How many trials an earlier run had done.
        signal: The signal that stopped the run, if one did.
        out_of_time: What to say if its hours stopped the run.
        report: The report, if one was written.
        abandoned: Whether Ray was left running because it did not stop in time.
        seconds: Wall-clock seconds of the run.
    """

    folder: Path
    phases: dict[str, PhaseCount] = field(default_factory=dict)
    failed: list[tuple[Trial, Record]] = field(default_factory=list)
    diverged: list[tuple[Trial, Record]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    reused: int = 0
    signal: int | None = None
    out_of_time: str | None = None
    report: Path | None = None
    abandoned: bool = False
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 only if every planned trial has ended and none failed; diverging is a result."""
        if self.out_of_time is not None:
            return EXIT_OUT_OF_TIME
        if self.signal is not None:
            return 128 + self.signal
        return _EXIT_FAILED if self.failed or self.ended < self.planned else 0
