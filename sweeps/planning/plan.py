"""The plan of a study: which trial comes next, given what has ended.

Phases overlap where what they wait for permits, so that slots stay full. Trials that the ledger
holds are never run again; two variants that want the same trial share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sweeps.definition.resolved import ResolvedStudy
from sweeps.errors import SweepFailedError
from sweeps.folder.ledger import Ledger, Record
from sweeps.phases import PHASES
from sweeps.phases.context import Context
from sweeps.phases.units import Unit
from sweeps.planning.trials import Trial
from trainables.checkpoint import checkpoint_path
from trainables.pruning import same_rule

__all__ = ["PhaseCount", "PhaseTotals", "Plan"]


@dataclass
class PhaseCount:
    """How far a phase is.

    Attributes:
        planned: Trials in all.
        ended: Trials that have ended, in this run or before.
        left_out: Trials that can never run because what they depend on came to nothing.
        skipped: Trials that need not run, because another seed of their configuration was stopped
            early; they are not among those planned.
    """

    planned: int = 0
    ended: int = 0
    left_out: int = 0
    skipped: int = 0


class PhaseTotals:
    """Sums over the phases of whatever has ``phases``: how far each is."""

    phases: dict[str, PhaseCount]

    @property
    def planned(self) -> int:
        """Trials of the whole study."""
        return sum(count.planned for count in self.phases.values())

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return sum(count.ended for count in self.phases.values())

    @property
    def skipped(self) -> int:
        """Trials that need not run."""
        return sum(count.skipped for count in self.phases.values())


@dataclass
class _InFlight:
    """A trial that runs, and every unit that wants it."""

    trial: Trial
    wanted_by: list[tuple[Unit, Trial]] = field(default_factory=list)


class Plan:
    """The trials of a study in the order in which they should run.

    Args:
        resolved: The study.
        ledger: What has ended.
        search_folder: Where searches write down what they ask for.
        extend: Whether there will be new trials; a plan that is only looked at has none.
    """

    def __init__(
        self, resolved: ResolvedStudy, ledger: Ledger, search_folder: Path, *, extend: bool = True
    ) -> None:
        self.resolved = resolved
        self.ledger = ledger
        self.context = Context(resolved, search_folder, extend=False)
        self.units: list[Unit] = [unit for units in PHASES.values() for unit in units(self.context)]
        self._place = {id(unit): place for place, unit in enumerate(self.units)}
        self._asked: dict[tuple[int, str], int] = {}
        self._ended: list[tuple[tuple[int, int], Trial, Record]] = []
        self._reused: set[str] = set()
        self._ended_now: set[str] = set()
        self._rank = {name: rank for rank, name in enumerate(PHASES)}
        self._in_flight: dict[str, _InFlight] = {}
        self._changed = True
        self._absorb()
        self.context.extend = extend

    # ------------------------------------------------------------------ running

    @property
    def finished(self) -> bool:
        """Whether every trial has ended or can never run."""
        return all(unit.done for unit in self.units)

    @property
    def running(self) -> int:
        """How many trials have been given out and not ended."""
        return len(self._in_flight)

    @property
    def given_out(self) -> list[Trial]:
        """The trials that have been given out and not ended."""
        return [flight.trial for flight in self._in_flight.values()]

    @property
    def ended(self) -> list[tuple[Trial, Record]]:
        """Every trial of the plan that has ended, with its record.

        The order is that of the parts of the study and of asking, whichever ended first, so that
        tables of a study that was interrupted are those of one that was not.
        """
        ordered = sorted(self._ended, key=lambda entry: entry[0])
        return [(trial, record) for _, trial, record in ordered]

    @property
    def reused(self) -> int:
        """How many trials had ended before; those that phases share are none of them."""
        return len(self._reused)

    @property
    def unclaimed(self) -> int:
        """How many records of trials the ledger holds that nothing has asked for so far.

        A study that has changed comes to some of them only when what it trains anew has ended.
        """
        asked = {trial_id for _, trial_id in self._asked}
        return sum(
            record.trial_id not in asked and not record.skipped for record in self.ledger.records()
        )

    def counts(self) -> dict[str, PhaseCount]:
        """How far each phase of the study is, in order."""
        counts: dict[str, PhaseCount] = {}
        for unit in self.units:
            count = counts.setdefault(unit.phase, PhaseCount())
            count.planned += unit.planned
            count.ended += unit.ended
            count.skipped += unit.skipped
            if unit.blocked is not None:
                count.left_out += unit.planned - unit.ended
        return counts

    def blocked(self) -> list[str]:
        """One sentence for each part that can never run, and why."""
        return [
            f"{unit.phase} of {unit.variant} was left out: {unit.blocked}"
            for unit in self.units
            if unit.blocked is not None
        ]

    def next(self) -> Trial | None:
        """The next trial to run; ``None`` if there is none at the moment.

        Raises:
            SweepFailedError: If nothing runs, nothing can run, and yet not all is done.
        """
        while self._changed:
            self._changed = False
            for unit in sorted(self.units, key=self._turn):
                trial = self._take(unit)
                if trial is not None:
                    self._changed = True
                    return trial
                if self._changed:
                    break
        if not self._in_flight and not self.finished and self.context.extend:
            stuck = ", ".join(f"{u.phase} of {u.variant}" for u in self.units if not u.done)
            raise SweepFailedError(f"the plan does not go on although nothing runs: {stuck}")
        return None

    def _take(self, unit: Unit) -> Trial | None:
        """A trial of a unit that must run; notes those that need not."""
        was_done = unit.done
        while (trial := unit.take()) is not None:
            self._asked.setdefault((self._place[id(unit)], trial.trial_id), len(self._asked))
            record = self.ledger.get(trial.trial_id)
            if record is not None and _serves(record, unit):
                if not record.skipped and trial.trial_id not in self._ended_now:
                    self._reused.add(trial.trial_id)
                self._note(unit, trial, record)
            elif trial.trial_id in self._in_flight:
                self._in_flight[trial.trial_id].wanted_by.append((unit, trial))
            elif unit.unwanted(trial) is not None and not self._has_begun(trial):
                unit.skip(trial)
                self._changed = True
            else:
                self._in_flight[trial.trial_id] = _InFlight(trial, [(unit, trial)])
                return trial
        # Others may wait for a unit that has just turned out to be blocked.
        self._changed = self._changed or unit.done != was_done
        return None

    def _has_begun(self, trial: Trial) -> bool:
        """Whether an earlier run left a checkpoint of a trial that has not ended."""
        return checkpoint_path(self.context.search_folder.parent, trial.trial_id).is_file()

    def _absorb(self) -> None:
        """Takes note of everything that has ended, before anything new is asked for."""
        taken = []
        while (trial := self.next()) is not None:
            taken.append(trial)
        for trial in reversed(taken):
            for unit, wanted in reversed(self._in_flight.pop(trial.trial_id).wanted_by):
                unit.put_back(wanted)
        self._changed = True

    def end(self, trial_id: str, record: Record) -> None:
        """Takes note of a trial that ended."""
        flight = self._in_flight.pop(trial_id)
        self._ended_now.add(trial_id)
        for unit, trial in flight.wanted_by:
            self._note(unit, trial, record)

    def catch_up(self) -> None:
        """Takes note of trials that ended while a run was being stopped and nobody was told."""
        for trial_id in list(self._in_flight):
            record = self.ledger.read(trial_id)
            # A failed trial may have an old record.
            if record is not None and record.status != "failed" and self.serves(trial_id, record):
                self.end(trial_id, record)

    def serves(self, trial_id: str, record: Record) -> bool:
        """Whether a record is one of a running trial, not an old one that was stopped early."""
        return all(_serves(record, unit) for unit, _ in self._in_flight[trial_id].wanted_by)

    def reported(self, trial_id: str, epoch: int, best: float) -> str | None:
        """Takes note of an epoch of a running trial; returns why to stop it, or ``None``.

        Args:
            trial_id: The trial.
            epoch: How many epochs it has completed.
            best: The best selection measure so far, higher is better.
        """
        if trial_id not in self._in_flight:
            return None
        wanted_by = self._in_flight[trial_id].wanted_by
        reasons = [unit.reported(trial, epoch, best) for unit, trial in wanted_by]
        # Whoever wants the whole trial gets it.
        return reasons[0] if all(reason is not None for reason in reasons) else None

    def prunable(self, trial_id: str) -> bool:
        """Whether nobody minds a running trial being stopped early."""
        wanted_by = self._in_flight[trial_id].wanted_by
        return all(unit.prunable for unit, _ in wanted_by)

    def rule(self, trial_id: str) -> str:
        """By which rule a running trial may be stopped early; empty if it may not."""
        return self._in_flight[trial_id].wanted_by[0][0].rule if self.prunable(trial_id) else ""

    def superfluous(self) -> list[tuple[Trial, str]]:
        """The trials given out that nobody wants if they have not begun, and why."""
        found = []
        for flight in self._in_flight.values():
            reasons = [unit.unwanted(trial) for unit, trial in flight.wanted_by]
            if reasons[0] is not None and None not in reasons:
                found.append((flight.trial, reasons[0]))
        return found

    def _note(self, unit: Unit, trial: Trial, record: Record) -> None:
        if record.skipped and unit.prunable:
            unit.skip(trial)
            self._changed = True
            return
        unit.tell(trial, record)
        place = self._place[id(unit)]
        self._ended.append(((place, self._asked[place, trial.trial_id]), trial, record))
        self._changed = True

    def _turn(self, unit: Unit) -> tuple[bool, int, int, int]:
        """Round-robin within a phase, earlier phases first, searches that should wait last."""
        return not unit.eager, self._rank[unit.phase], unit.running, unit.ended + unit.running


def _serves(record: Record, unit: Unit) -> bool:
    """Whether a unit can do with a record; one stopped early must have been by the unit's rule."""
    if record.status != "pruned":
        return True
    return unit.prunable and same_rule(record.rule, unit.rule)
