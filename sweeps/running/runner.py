"""Running a study from start to report, and stopping it when asked to."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_methods.errors import FairsweepError
from sweeps.definition.resolved import ResolvedStudy
from sweeps.errors import SweepFailedError
from sweeps.folder.disk import is_disk_full, saying_disk_full
from sweeps.folder.ledger import Ledger, Record
from sweeps.folder.liveness import RunFacts, write_run
from sweeps.folder.results import ResultsFolder, check_owner
from sweeps.folder.tables import write_tables
from sweeps.folder.trackers import check_trackers
from sweeps.on_ray.capacity import local_slots
from sweeps.on_ray.watchdog import Watchdog
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from sweeps.running.allowance import allowance, used_up
from sweeps.running.companions import companions
from sweeps.running.logs import SweepLogs
from sweeps.running.outcome import Outcome
from sweeps.running.preflight import (
    check_cluster,
    check_disk,
    check_held_out,
    check_new,
    put_in_order,
)
from sweeps.running.progress import Progress, panel, trial_line
from sweeps.running.stop_file import watch_for_stop
from sweeps.running.stopping import StopRequest
from sweeps.search.front_table import write_front

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from sweeps.on_ray.ray_session import RaySession
    from trainables.problem import Splits

__all__ = ["Outcome", "run"]

logger = logging.getLogger("sweeps")

# With the end of Ray and the tables within the ten seconds that a stop may take.
_STOP_SECONDS = 5.0
_REFRESH_SECONDS = 0.2


def run(
    resolved: ResolvedStudy,
    results: Path,
    address: str | None = None,
    console: Console | None = None,
) -> Outcome:
    """Runs a study, or what is left of it, and writes tables and report.

    SIGINT and SIGTERM stop it within seconds; calling it again continues.

    Args:
        resolved: The study.
        results: The results folder.
        address: Address of a Ray cluster; a Ray of our own without one.
        console: Where progress is shown; standard output by default.

    Raises:
        ResultsFolderError: If the folder cannot be used.
        StudyError: If this machine has no room for one trial, or too little is left to train on.
        RunError: If Ray cannot be used, or ended the sweep too early.
        DiskFullError: If there is no room left for results.
        FairsweepError: If the data of the problem or a package that the study asks for is missing.
    """
    from rich.console import Console

    console = console or Console()
    started = time.monotonic()
    results = results.expanduser().absolute()
    check_owner(results, resolved)
    check_trackers(resolved.study.trackers)
    if address is None and not (results / "manifest.json").is_file():
        check_new(resolved, results)
    with (
        saying_disk_full(results),
        ResultsFolder(results, resolved) as folder,
        SweepLogs(folder.path, console) as logs,
    ):
        outcome = _Run(resolved, folder, address, console, logs).run()
        outcome.seconds = time.monotonic() - started
        return outcome


class _Run:
    """One run of a study in its locked results folder."""

    def __init__(
        self,
        resolved: ResolvedStudy,
        folder: ResultsFolder,
        address: str | None,
        console: Console,
        logs: SweepLogs,
    ) -> None:
        self.logs = logs
        self.resolved = resolved
        self.folder = folder
        self.address = address
        self.console = console
        self.ledger = Ledger(folder.ledger).load()
        put_in_order(folder.path, self.ledger, resolved.study.resources.keep_checkpoints)
        self.retried = self.ledger.forget_failures()
        self.plan = Plan(resolved, self.ledger, folder.search)
        self.progress = Progress(self.plan)
        self.stop = StopRequest()
        self.watchdog = Watchdog(folder.path, resolved.study.resources.stall_seconds)
        self.hours = resolved.study.budget.hours if resolved.study.budget else None
        self.out_of_time = False
        self.tell: Callable[[Trial, Record], None] = lambda trial, record: None
        self.abandoned = False
        self.noticed = 0

    def run(self) -> Outcome:
        """Runs what is left and writes tables and report."""
        try:
            return self._run()
        finally:
            self.stop.over()

    def _run(self) -> Outcome:
        try:
            with (
                self.stop,
                watch_for_stop(self.folder.path, self.stop.ask_soon),
                allowance(self.hours, self._time_is_up),
                companions(self.plan, self.folder.path, lambda: self.stop.requested) as self.tell,
            ):
                first = self.plan.next()
                self._announce()
                if first is not None and not self.stop.requested:
                    self._sweep(first)
        except Exception:
            with contextlib.suppress(OSError):  # of a full disk, which is said below
                write_tables(self.folder.path, self.plan.ended)
            raise
        return self._conclude()

    def _time_is_up(self) -> None:
        self.out_of_time = not self.stop.requested
        self.stop.ask()

    def _announce(self) -> None:
        counts = self.plan.counts()
        phases = ", ".join(f"{name} {count.planned}" for name, count in counts.items())
        planned = sum(count.planned for count in counts.values())
        name = self.resolved.study.name
        logger.info("study %s in %s: %d trials (%s)", name, self.folder.path, planned, phases)
        if self.folder.changed:
            logger.info("the study has changed since the last run; changed parts run anew")
        if self.plan.reused:
            logger.info("%d trials had ended before and are not repeated", self.plan.reused)
        if self.plan.unclaimed:
            logger.info(
                "%d more had ended before; those that the study as it is now comes to are not "
                "repeated either",
                self.plan.unclaimed,
            )
        if self.retried:
            logger.info("%d trials had failed and are tried again", self.retried)
        for note in self.resolved.notes:
            logger.info(note)

    # ------------------------------------------------------------------ events of the sweep

    def started(self, trial: Trial) -> None:
        """A trial was handed to Ray."""
        self._give_notice()
        self.progress.started(trial)

    def _give_notice(self) -> None:
        """Says what the plan has noted since the last call."""
        for sentence in self.plan.context.notices[self.noticed :]:
            logger.warning(sentence)
            self.noticed += 1

    def progressed(self, trial: Trial, epoch: int) -> None:
        """A trial completed an epoch."""
        self.progress.progressed(trial, epoch)

    def ended(self, trial: Trial, record: Record) -> None:
        """A trial ended."""
        self.progress.ended(trial, record)
        line = trial_line(self.progress.snapshot(), trial, record, self.resolved.study.selection)
        expected = record.status in {"finished", "pruned"}
        logger.log(logging.INFO if expected else logging.WARNING, line)
        if not record.skipped:
            self.tell(trial, record)

    # ------------------------------------------------------------------ Ray

    def _sweep(self, first: Trial) -> None:
        from sweeps.on_ray.ray_session import ray_session

        logger.info("loading data and starting Ray, which takes some seconds")
        problem, resources = self.resolved.problem, self.resolved.study.resources
        slots = resources.concurrent or 1 if self.address else local_slots(resources)
        check_disk(self.plan, self.folder.path, slots)
        facts = RunFacts.here(slots)
        write_run(self.folder.path, facts)
        # Missing data is said before Ray starts.
        splits = {problem.key: problem.load(None)}
        check_held_out(self.resolved, splits[problem.key])
        try:
            with ray_session(resources, self.folder.path, self.address) as session:
                # Ray puts in handlers of its own, of SIGTERM and of log messages, when it starts.
                self.stop.listen()
                self.logs.take_over()
                write_run(self.folder.path, replace(facts, slots=session.slots))
                if self.address is not None:
                    check_cluster(self.plan, self.folder.path, session.slots)
                if not self.stop.requested:
                    self._tune(session, splits, first)
        except FairsweepError:
            raise
        except Exception as error:
            if is_disk_full(error):
                raise
            raise self._broke_off(error) from error

    def _broke_off(self, failure: BaseException | None) -> SweepFailedError:
        """One sentence for a sweep that Ray ended; what it said is in its log."""
        self.logs.take_over()
        logging.getLogger("ray").error("the sweep ended early", exc_info=failure)
        return SweepFailedError(
            "Ray ended the sweep before all trials had ended; run the same command again to "
            f"continue, and see {self.folder.path / 'ray.log'}"
        )

    def _tune(self, session: RaySession, splits: Mapping[str, Splits], first: Trial) -> None:
        from sweeps.on_ray.searcher import PlanSearcher
        from sweeps.on_ray.tuner import fit

        resources = self.resolved.study.resources
        searcher = PlanSearcher(
            self.plan,
            self.folder.path,
            resources=resources,
            slots=session.slots,
            events=self,
            first=first,
            stalls=self.watchdog.stalls,
        )
        errors: list[BaseException] = []

        def work() -> None:
            try:
                fit(searcher, splits, resources, session, lambda: self.stop.requested)
            except BaseException as error:  # noqa: BLE001  (raised again in the main thread)
                errors.append(error)

        self.progress.slots = session.slots
        thread = threading.Thread(target=work, name="ray-tune", daemon=True)
        thread.start()
        with self.watchdog:
            session.abandoned = self.abandoned = not self._watch(thread)
        logger.info("trials ran in %d worker processes", len(searcher.workers))
        if self.stop.requested:
            return
        failure = searcher.failure or (errors[0] if errors else None)
        if failure is not None and (isinstance(failure, FairsweepError) or is_disk_full(failure)):
            raise failure
        if failure is not None or not self.plan.finished:
            raise self._broke_off(failure) from failure

    def _watch(self, thread: threading.Thread) -> bool:
        """Shows progress until the sweep ends; ``False`` if it did not stop in time."""
        deadline = math.inf
        with self._display() as refresh:
            while thread.is_alive() and time.monotonic() < deadline:
                thread.join(_REFRESH_SECONDS)
                refresh()
                if self.stop.requested and deadline == math.inf:
                    deadline = time.monotonic() + _STOP_SECONDS
                    logger.info("stopping: running trials save their state")
        return not thread.is_alive()

    @contextlib.contextmanager
    def _display(self) -> Iterator[Callable[[], None]]:
        """The live panel in a terminal; nothing elsewhere, where lines are printed."""
        if not self.console.is_terminal:
            yield lambda: None
            return
        from rich.live import Live

        def draw() -> RenderableType:
            stopping = "stopping: running trials save their state" if self.stop.requested else None
            study = self.resolved.study
            return panel(self.progress.snapshot(), study.name, study.selection, stopping)

        self.logs.screen.setLevel(logging.WARNING)
        try:
            with Live(draw(), console=self.console, auto_refresh=False) as live:
                yield lambda: live.update(draw(), refresh=True)
        finally:
            self.logs.screen.setLevel(logging.INFO)

    # ------------------------------------------------------------------ the end

    def _conclude(self) -> Outcome:
        self.plan.catch_up()
        ended = self.plan.ended
        if self.out_of_time and self.plan.finished:  # the last trial ended just in time
            self.out_of_time, self.stop.signal = False, None
        outcome = Outcome(
            self.folder.path,
            phases=self.plan.counts(),
            failed=[(trial, record) for trial, record in ended if record.status == "failed"],
            diverged=[(trial, record) for trial, record in ended if record.status == "diverged"],
            left_out=self.plan.blocked(),
            notices=list(self.plan.context.notices),
            reused=self.plan.reused,
            signal=self.stop.signal,
            abandoned=self.abandoned,
        )
        if self.out_of_time and self.hours is not None:
            outcome.out_of_time = used_up(self.hours, outcome.ended, outcome.planned)
        self._give_notice()
        self.folder.add_notices([*outcome.notices, *outcome.left_out])
        for sentence in outcome.left_out:
            logger.warning(sentence)
        write_tables(self.folder.path, ended)
        write_front(self.folder.path, self.plan)
        if outcome.signal is None:
            logger.info("all trials have ended; writing the report")
            outcome.report = write_report(self.folder.path)
            logger.info("report: %s", outcome.report)
        elif outcome.out_of_time is not None:
            logger.info("%s; run the same command again to continue", outcome.out_of_time)
        elif self.plan.finished:
            logger.info(
                "stopped by %s when all %d trials had ended; run the same command again for the "
                "report",
                signal.Signals(outcome.signal).name,
                outcome.ended,
            )
        else:
            logger.info(
                "stopped by %s after %d of %d trials; run the same command again to continue",
                signal.Signals(outcome.signal).name,
                outcome.ended,
                outcome.planned,
            )
        return outcome


def write_report(folder: Path) -> Path:
    """Summary, figures and report of a results folder, from its tables; returns the report."""
    import analysis

    return Path(analysis.write_report(folder).report)
