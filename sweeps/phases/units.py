"""Units of work: the parts of a phase that wait for each other only through results.

A plan asks its units for trials and tells them how these ended. A unit either waits for others,
has trials to give, waits for its own trials, is done, or is blocked for good because what it
depends on came to nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence

from sweeps.folder.ledger import Record
from sweeps.planning.trials import Trial

__all__ = ["Batch", "Blocked", "Unit"]


class Blocked(Exception):  # noqa: N818  (a state that is signalled, not an error)
    """What a unit depends on can never be had; the message says why."""


class Unit(ABC):
    """A part of a phase.

    Args:
        phase: The phase it belongs to.
        variant: Whose trials these are.
        planned: How many trials it has in all.

    Attributes:
        ended: How many of them have ended.
        running: How many have been given out and not ended.
        skipped: How many were planned at first and need not run; ``planned`` is without them.
        blocked: Why the rest can never run; ``None`` while they can.
    """

    def __init__(self, phase: str, variant: str, planned: int) -> None:
        self.phase = phase
        self.variant = variant
        self.planned = planned
        self.ended = 0
        self.running = 0
        self.skipped = 0
        self.blocked: str | None = None

    @property
    def done(self) -> bool:
        """Whether nothing is left to run or to wait for."""
        return self.blocked is not None or self.ended >= self.planned

    def take(self) -> Trial | None:
        """The next trial to run; ``None`` if there is none at the moment."""
        if self.done:
            return None
        try:
            trial = self._next()
        except Blocked as reason:
            self.blocked = str(reason)
            return None
        if trial is not None:
            self.running += 1
        return trial

    def tell(self, trial: Trial, record: Record) -> None:
        """Tells the unit how a trial of its own ended."""
        self.running -= 1
        self.ended += 1
        self._told(trial, record)

    def put_back(self, trial: Trial) -> None:
        """Takes a trial back that was taken and not run; it is the next to be taken."""
        self.running -= 1
        self._put_back(trial)

    def unwanted(self, trial: Trial) -> str | None:
        """Why a trial of its own that has not begun need not run any more; ``None`` if it must."""
        return None

    def skip(self, trial: Trial) -> None:
        """Tells the unit that a trial that was taken will not run, since it is unwanted."""
        self.running -= 1
        self.planned -= 1
        self.skipped += 1
        self._skipped(trial)

    @property
    def eager(self) -> bool:
        """Whether the next trial loses nothing by starting before the running ones have ended."""
        return True

    def seconds_left(self, each: float) -> float:
        """Estimated seconds of its trials that have not ended, if one takes ``each``."""
        return (self.planned - self.ended) * each

    @property
    def waiting(self) -> Sequence[Trial] | None:
        """The trials that it will still give, all of them; ``None`` if they are not known yet."""
        return None

    def lengths_left(self, epochs: int) -> list[int]:
        """The epochs of each trial that has neither been given out nor ended.

        Args:
            epochs: Those of a whole trial.
        """
        return [epochs] * max(0, self.planned - self.ended - self.running)

    @property
    def prunable(self) -> bool:
        """Whether its trials may have been stopped early."""
        return False

    @property
    def rule(self) -> str:
        """By which rule they may have been; empty if they may not."""
        return ""

    def reported(self, trial: Trial, epoch: int, best: float) -> str | None:
        """Takes note of an epoch of a trial; returns why it should be stopped, if it should.

        Args:
            trial: A trial of its own that runs.
            epoch: How many epochs it has completed.
            best: The best selection measure so far, higher is better.
        """
        return None

    @abstractmethod
    def _next(self) -> Trial | None:
        """The next trial, ``None`` while there is none; raises ``Blocked`` if there never is."""

    @abstractmethod
    def _put_back(self, trial: Trial) -> None:
        """Makes a trial the next one again."""

    @abstractmethod
    def _told(self, trial: Trial, record: Record) -> None:
        """Takes note of a trial that ended."""

    def _skipped(self, trial: Trial) -> None:
        """Takes note of a trial that will not run."""
        raise AssertionError(f"{self.variant}: no trial of {self.phase} is ever skipped")


class Batch(Unit):
    """A fixed number of trials that are known as soon as others have ended.

    Args:
        phase: The phase it belongs to.
        variant: Whose trials these are.
        planned: How many there are.
        plan: Makes the trials; returns ``None`` while what they depend on is not there and raises
            ``Blocked`` if it never will be.
        fewer: Whether there may turn out to be fewer trials than planned.
    """

    def __init__(
        self,
        phase: str,
        variant: str,
        planned: int,
        plan: Callable[[], Sequence[Trial] | None],
        *,
        fewer: bool = False,
    ) -> None:
        super().__init__(phase, variant, planned)
        self._plan = plan
        self._fewer = fewer
        self._waiting: deque[Trial] | None = None
        self.results: list[tuple[Trial, Record]] = []

    @property
    def waiting(self) -> Sequence[Trial] | None:
        """The trials that it will still give; ``None`` while what they depend on is not there."""
        return None if self._waiting is None else list(self._waiting)

    def _next(self) -> Trial | None:
        if self._waiting is None:
            trials = self._plan()
            if trials is None:
                return None
            if self._fewer:
                self.planned = len(trials)
            if len(trials) != self.planned:
                raise AssertionError(f"{self.variant}: {len(trials)} trials, not {self.planned}")
            self._waiting = deque(trials)
        return self._waiting.popleft() if self._waiting else None

    def _put_back(self, trial: Trial) -> None:
        if self._waiting is not None:
            self._waiting.appendleft(trial)

    def _told(self, trial: Trial, record: Record) -> None:
        self.results.append((trial, record))

    def finished(self) -> list[Record] | None:
        """The finished trials' records ordered by seed; ``None`` while trials are missing.

        Raises:
            Blocked: If no trial finished.
        """
        if self.blocked is not None:
            raise Blocked(self.blocked)
        if not self.done:
            return None
        records = self.finished_records()
        if not records:
            raise Blocked(
                f"none of the {self.ended} {self.phase} trials of {self.variant} finished"
            )
        return records

    def finished_records(self) -> list[Record]:
        """The records so far of the trials that finished, ordered by seed."""
        results = sorted(self.results, key=lambda result: result[0].seed)
        return [record for _, record in results if record.status == "finished"]
