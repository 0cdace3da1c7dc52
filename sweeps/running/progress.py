"""Progress of a sweep: a live panel in a terminal, plain lines in a log and elsewhere.

Events arrive in the thread that runs Ray Tune, the panel is drawn in the main one; a lock keeps
them apart.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweeps.folder.ledger import Record
from sweeps.phases.tuning import Tuning
from sweeps.planning.estimate import variant_costs
from sweeps.planning.plan import PhaseCount, Plan
from sweeps.planning.trials import Trial
from sweeps.printable import printable
from sweeps.search.selection import describe_objective, needs_reference, objective

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Progress", "Snapshot", "duration", "panel", "trial_line"]


@dataclass(frozen=True)
class Snapshot:
    """How far a sweep is at one moment.

    Attributes:
        phases: How far each phase is.
        done: Trials that have ended.
        total: Trials in all, without those that were left out.
        running: What runs: label, epoch, epochs.
        best: For each method its best search result so far, best first.
        statuses: How many trials ended in this run, by status.
        elapsed: Seconds since the start.
        left: Estimated seconds left; NaN if not known yet.
    """

    phases: dict[str, PhaseCount]
    done: int
    total: int
    running: list[tuple[str, int, int]]
    best: list[tuple[str, float]]
    statuses: dict[str, int]
    elapsed: float
    left: float


@dataclass
class _Running:
    trial: Trial
    epoch: int = 0
    since: float = field(default_factory=time.monotonic)


class Progress:
    """Follows a plan while it runs.

    Args:
        plan: The plan.

    Attributes:
        slots: How many trials run at once.
    """

    def __init__(self, plan: Plan) -> None:
        self.slots = 1
        self._lock = threading.Lock()
        self._plan = plan
        self._costs = variant_costs(plan.resolved)
        self._running: dict[str, _Running] = {}
        self._statuses: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._work = [0.0, 0.0]
        self._started = time.monotonic()
        for trial, record in plan.ended:
            self._learn(trial, record)

    # ------------------------------------------------------------------ events

    def started(self, trial: Trial) -> None:
        """A trial was handed to Ray, where it may wait for a slot."""
        with self._lock:
            self._running[trial.trial_id] = _Running(trial)

    def progressed(self, trial: Trial, epoch: int) -> None:
        """A trial completed an epoch."""
        with self._lock:
            if trial.trial_id in self._running:
                self._running[trial.trial_id].epoch = epoch

    def ended(self, trial: Trial, record: Record) -> None:
        """A trial ended."""
        with self._lock:
            self._running.pop(trial.trial_id, None)
            self._statuses["skipped" if record.skipped else record.status] += 1
            self._learn(trial, record)

    def _learn(self, trial: Trial, record: Record) -> None:
        """Takes note of how long a whole trial takes."""
        if record.status == "finished":
            self._seconds[trial.variant].append(record.seconds)
            self._work[0] += record.seconds
            self._work[1] += self._costs.get(trial.variant, 1.0)

    # ------------------------------------------------------------------ looking

    def snapshot(self) -> Snapshot:
        """How far the sweep is now."""
        with self._lock:
            phases = self._plan.counts()
            running = [
                (f"{r.trial.phase} {r.trial.variant}", r.epoch, r.trial.epochs)
                for r in self._running.values()
                if r.epoch
            ]
            return Snapshot(
                phases=phases,
                done=sum(count.ended for count in phases.values()),
                total=sum(count.planned - count.left_out for count in phases.values()),
                running=running,
                best=self._best(),
                statuses=dict(self._statuses),
                elapsed=time.monotonic() - self._started,
                left=self._left(),
            )

    def _best(self) -> list[tuple[str, float]]:
        tunings = [u for u in self._plan.units if isinstance(u, Tuning) and u.phase == "search"]
        leaders = [(tuning.variant, tuning.leader) for tuning in tunings]
        best = [(variant, leader.value) for variant, leader in leaders if leader is not None]
        return sorted(best, key=lambda entry: -entry[1])

    def _left(self) -> float:
        seconds, cost = self._work
        if not cost:
            return math.nan
        work = 0.0
        for unit in self._plan.units:
            if unit.blocked is not None:
                continue
            known = self._seconds.get(unit.variant)
            each = (
                math.fsum(known) / len(known)
                if known
                else seconds / cost * self._costs.get(unit.variant, 1.0)
            )
            work += unit.seconds_left(each)
        for running in self._running.values():
            known = self._seconds.get(running.trial.variant)
            each = math.fsum(known) / len(known) if known else seconds / cost
            work -= each * running.epoch / running.trial.epochs
        return max(work, 0.0) / self.slots


def trial_line(snapshot: Snapshot, trial: Trial, record: Record, selection: str) -> str:
    """One line on a trial that ended: ``[12/98] search cagrad seed 0: delta_mtm -12.3, 4.1 s``."""
    if record.status == "finished":
        outcome = _result(trial, record, selection)
    else:
        status = "skipped" if record.skipped else record.status
        outcome = f"{status}: {record.error.get('message') or 'no reason recorded'}"
    left = "" if math.isnan(snapshot.left) else f", about {duration(snapshot.left)} left"
    return (
        f"[{snapshot.done}/{snapshot.total}] {trial.phase} {trial.variant} seed {trial.seed}: "
        f"{outcome}, {record.seconds:.1f} s{left}"
    )


def _result(trial: Trial, record: Record, selection: str) -> str:
    """The objective of a trial, or the metrics of a single-task one."""
    if trial.spec["reference"] is not None or needs_reference(selection) is False:
        return describe_objective(selection, objective(record))
    metrics = record.summary.get("validation") or {}
    return ", ".join(f"{name} {v:.4g}" for name, v in metrics.items() if "." in name)


def duration(seconds: float) -> str:
    """Seconds in words: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def panel(snapshot: Snapshot, title: str, selection: str, stopping: str | None) -> RenderableType:
    """The live panel of a terminal."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    phases = Table.grid(padding=(0, 2))
    for name, count in snapshot.phases.items():
        total = count.planned - count.left_out
        phases.add_row(
            name,
            ProgressBar(total=max(total, 1), completed=count.ended, width=30),
            f"{count.ended}/{total}",
        )
    phases.add_row(
        "all",
        ProgressBar(total=max(snapshot.total, 1), completed=snapshot.done, width=30),
        f"{snapshot.done}/{snapshot.total}",
        style="bold",
    )
    if not math.isnan(snapshot.left):
        left = f", about {duration(snapshot.left)} left"
    else:
        left = "" if snapshot.running else "; worker processes are starting"
    lines = [f"{duration(snapshot.elapsed)} elapsed{left}"]
    bad = [
        f"{count} {status}" for status, count in snapshot.statuses.items() if status != "finished"
    ]
    if bad:
        lines[0] += "; " + ", ".join(bad)
    if snapshot.best:
        lines.append(
            "best so far: "
            + ", ".join(
                f"{variant} {describe_objective(selection, value)}"
                for variant, value in snapshot.best[:3]
            )
        )
    lines += [
        f"running: {label}, epoch {epoch}/{total}" for label, epoch, total in snapshot.running
    ]
    if stopping:
        lines.append(stopping)
    # Text, not markup: labels come from a study file.
    return Panel(
        Group(phases, Text(printable("\n".join(lines)))), title=Text(printable(title)), expand=False
    )
