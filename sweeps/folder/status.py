"""How a study stands, from its results folder alone: while it runs or after, from anywhere.

Nothing is written, and no run is disturbed.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeps.folder.ledger import Ledger, Record
from sweeps.folder.liveness import RunFacts, is_locked, read_run
from sweeps.folder.results import stored_study
from sweeps.planning.plan import PhaseCount, PhaseTotals, Plan
from sweeps.planning.trials import Trial
from sweeps.running.progress import Progress
from trainables.heartbeat import heartbeat_path, read_heartbeat

__all__ = ["RunningTrial", "Status", "StatusReader"]

# A trial that has given no sign for so long is not said to be running when nobody knows better.
_SILENT_SECONDS = 600.0


@dataclass(frozen=True)
class RunningTrial:
    """A trial that runs.

    Attributes:
        trial_id: The trial.
        phase: Its phase.
        label: Whose trial it is.
        epoch: Completed epochs.
        epochs: Epochs in all.
        host: The machine.
        pid: The worker process.
        silent: Seconds since its last sign of life, by the clock of this machine.
    """

    trial_id: str
    phase: str
    label: str
    epoch: int
    epochs: int
    host: str
    pid: int
    silent: float


@dataclass(frozen=True)
class Status(PhaseTotals):
    """How a study stands.

    Attributes:
        study: Its name.
        folder: Its results folder.
        selection: What configurations are chosen by.
        alive: Whether a run writes to the folder now.
        run: What the last run said of itself.
        phases: How far each phase is.
        states: Trials by state: finished, diverged, failed, ..., running, waiting, left out,
            skipped.
        errors: Trials that did not finish, by kind of error.
        best: For each method its best search result so far, best first.
        running: The trials that run.
        rate: Trials that ended per hour in the present or last run; NaN if none did.
        left: Estimated seconds until all have ended; NaN if unknown or if no run is alive.
        left_out: One sentence for each part that can never run.
        damaged: Records that were left out because they are damaged; their trials run again.
    """

    study: str
    folder: str
    selection: str
    alive: bool
    run: RunFacts | None
    phases: dict[str, PhaseCount]
    states: dict[str, int]
    errors: dict[str, int]
    best: list[tuple[str, float]]
    running: list[RunningTrial]
    rate: float
    left: float
    left_out: list[str]
    damaged: list[str]

    @property
    def complete(self) -> bool:
        """Whether every planned trial has ended and none failed."""
        return self.ended == self.planned and not self.states.get("failed")

    def as_json(self) -> dict[str, Any]:
        """The same as plain data; numbers that are not known are ``None``."""
        data = asdict(self)
        data["best"] = dict(self.best)
        data |= {"planned": self.planned, "ended": self.ended, "skipped": self.skipped}
        data["complete"] = self.complete
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in data.items()
        }


class StatusReader:
    """Reads the status of a results folder, again and again at little cost.

    Args:
        folder: The results folder.

    Raises:
        ResultsFolderError: If the folder is none of fairsweep's or its study is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self._resolved = stored_study(self.folder)
        self._ledger = Ledger(self.folder / "ledger")

    def read(self) -> Status:
        """How the study stands now."""
        alive, run = is_locked(self.folder), read_run(self.folder)
        self._ledger.refresh()
        plan = Plan(self._resolved, self._ledger, self.folder / "search", extend=False)
        progress = Progress(plan)
        progress.slots = run.slots if run is not None else 1
        snapshot = progress.snapshot()
        running = self._running() if alive else []
        return Status(
            study=self._resolved.study.name,
            folder=str(self.folder),
            selection=self._resolved.study.selection,
            alive=alive,
            run=run,
            phases=snapshot.phases,
            states=_states(plan, len(running)),
            errors=_errors(plan.ended),
            best=snapshot.best,
            running=running,
            rate=_rate(plan.ended, run, alive=alive),
            left=snapshot.left if alive else math.nan,
            left_out=plan.blocked(),
            damaged=list(self._ledger.damaged),
        )

    def _running(self) -> list[RunningTrial]:
        found = []
        for path in sorted(heartbeat_path(self.folder, "x").parent.glob("*.json")):
            content = read_heartbeat(path)
            try:
                silent = time.time() - path.stat().st_mtime
            except OSError:
                continue
            if content is None or self._ledger.get(path.stem) is not None:
                continue
            limit = self._resolved.study.resources.stall_seconds or _SILENT_SECONDS
            if silent > 2.0 * limit + _SILENT_SECONDS:
                continue
            found.append(
                RunningTrial(
                    trial_id=path.stem,
                    phase=str(content.get("phase")),
                    label=str(content.get("label")),
                    epoch=_whole(content.get("epoch")),
                    epochs=_whole(content.get("epochs")),
                    host=str(content.get("host")),
                    pid=_whole(content.get("pid")),
                    silent=max(0.0, silent),
                )
            )
        return found


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _states(plan: Plan, running: int) -> dict[str, int]:
    states = Counter(record.status for _, record in plan.ended)
    counts = plan.counts().values()
    waiting = sum(c.planned - c.left_out - c.ended for c in counts)
    states["running"] = min(running, waiting)
    states["waiting"] = waiting - states["running"]
    states["left out"] = sum(c.left_out for c in counts)
    states["skipped"] = sum(c.skipped for c in counts)
    return {name: count for name, count in states.items() if count}


def _errors(ended: list[tuple[Trial, Record]]) -> dict[str, int]:
    kinds = Counter(
        f"{record.status}: {record.error.get('type') or 'unknown'}"
        for _, record in ended
        if record.status in {"diverged", "failed"}
    )
    return dict(kinds.most_common())


def _rate(ended: list[tuple[Trial, Record]], run: RunFacts | None, *, alive: bool) -> float:
    """Trials per hour since the run began, until now or until its last trial ended."""
    if run is None:
        return math.nan
    since = datetime.fromisoformat(run.started)
    times = [time for _, record in ended if (time := _time(record)) is not None and time >= since]
    if not times:
        return math.nan
    until = datetime.now(UTC) if alive else max(times)
    return 3600.0 * len(times) / max((until - since).total_seconds(), 1.0)


def _time(record: Record) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(record.summary.get("ended")))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
