"""The seam to Ray Tune: a ``Searcher`` that hands out the trials of a plan.

One searcher feeds all phases and all methods through one Tuner, so that actors are reused from the
first trial to the last.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ray.tune.callback import Callback
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from sweeps.definition.study import Resources
from sweeps.errors import SweepFailedError
from sweeps.folder.disk import disk_full
from sweeps.folder.ledger import Record
from sweeps.on_ray.forgetting import Forgetting
from sweeps.on_ray.ray_words import brief_reason, is_out_of_space
from sweeps.on_ray.rests import Rests
from sweeps.on_ray.watchdog import Stall, forget_signs
from sweeps.on_ray.worker import REST
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from trainables.pruning import PruneMark, read_mark, same_rule, write_mark

__all__ = ["PlanSearcher", "SweepEvents", "SweepStopper", "TuneEvents"]

logger = logging.getLogger("sweeps")

# Workers that die without having reported anything, after which a sweep is given up.
_DEATHS_PER_SLOT = 4


class SweepEvents(Protocol):
    """Who wants to know how the sweep goes."""

    def started(self, trial: Trial) -> None:
        """A trial was handed to Ray."""

    def progressed(self, trial: Trial, epoch: int) -> None:
        """A trial completed an epoch."""

    def ended(self, trial: Trial, record: Record) -> None:
        """A trial ended."""


class _NotPickled:
    """Tune pickles what it is given, to restore it later; there is nothing here to restore."""

    def __reduce__(self) -> tuple[Any, ...]:
        return object, ()


class PlanSearcher(_NotPickled, Searcher):
    """Suggests the next trial of a plan, and tells the plan how it ended.

    Args:
        plan: What is to be run.
        results: The results folder, absolute.
        resources: How often trials checkpoint, whether the best epoch is kept, how often trials
            are tried again, and whether they have a GPU.
        slots: How many trials run at once.
        events: Told of everything that happens.
        first: The first trial, which has been taken from the plan already.
        stalls: The trials whose workers were killed because they made no progress.

    Attributes:
        failure: What went wrong on our side of the seam, where Ray would only log it; the sweep
            must stop then.
        workers: The worker processes that trials have run in: node and process id.
    """

    def __init__(
        self,
        plan: Plan,
        results: Path,
        *,
        resources: Resources,
        slots: int,
        events: SweepEvents,
        first: Trial,
        stalls: dict[str, Stall] | None = None,
    ) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.workers: set[tuple[str, int]] = set()
        self._rests = Rests(slots)
        self._slots = slots
        self._deaths = 0
        self._plan = plan
        self._results = results
        self._resources = resources
        self._events = events
        self._stalls = {} if stalls is None else stalls
        self._example = first
        self._again = deque([first])
        self._attempts: Counter[str] = Counter()
        self._trials: dict[str, Trial] = {}

    # Ray's hints leave FINISHED, a string, out.
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next trial as a configuration of the trainable.

        Returns:
            The configuration of a trial, or of a rest while trials wait for results; ``None`` if
            there are enough of both; ``Searcher.FINISHED`` when everything has ended.
        """
        if self.failure is not None:
            return None
        if not self._rests.assembling:
            trial = self._again.popleft() if self._again else self._plan.next()
            if trial is not None:
                return self._trial(trial_id, trial)
            if self._plan.finished:
                return str(Searcher.FINISHED)
        return self._rest(trial_id) if self._rests.wanted else None

    def _trial(self, ray_id: str, trial: Trial) -> dict[str, Any]:
        self._attempts[trial.trial_id] += 1
        self._trials[ray_id] = trial
        self._rests.trial_given(ray_id)
        self._events.started(trial)
        keep = self._resources.keep_checkpoints
        return {
            "spec": dict(trial.spec),
            "trial_id": trial.trial_id,
            "phase": trial.phase,
            "results_dir": str(self._results),
            "checkpoint_every_s": self._resources.checkpoint_every_seconds,
            "keep_best": keep != "none" and trial.spec["evaluate_test"],
            "keep_last": keep == "best_and_last" and trial.spec["evaluate_test"],
            "stall_s": self._resources.stall_seconds,
            "prunable": self._plan.prunable(trial.trial_id),
            "rule": self._plan.rule(trial.trial_id),
            "hand_on": trial.hand_on,
            "continues": trial.continues,
            "label": f"{trial.variant} seed {trial.seed}",
            "device": "cuda" if self._resources.gpus_per_trial else "cpu",
        }

    def _rest(self, ray_id: str) -> dict[str, Any]:
        self._rests.rest_given(ray_id)
        return {"spec": dict(self._example.spec), REST: self._rests.interval}

    def on_start(self, trial_id: str) -> None:
        """An actor took a trial or rest."""
        self._rests.started(trial_id)

    def on_result(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """A worker reported something; returns whether that was a rest that should end."""
        worker = (str(result.get("node_ip")), int(result.get("pid") or 0))
        self._rests.reported(worker)
        self._deaths = 0
        if trial_id in self._trials:
            self.workers.add(worker)
        no_more = self._plan.finished or self.failure is not None
        return self._rests.is_over(trial_id, no_more=no_more)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Passes progress on."""
        trial, epoch = self._trials.get(trial_id), result.get("epoch")
        if trial is None or not isinstance(epoch, int):
            return
        self._events.progressed(trial, epoch)
        best = result.get("objective")
        if result.get("status") == "running" and isinstance(best, float):
            try:
                self._prune(trial, epoch, best)
            except Exception as failure:  # noqa: BLE001  (Ray would log it and go on)
                self.failure = failure

    def _prune(self, trial: Trial, epoch: int, best: float) -> None:
        """Marks a trial if it should stop; it looks for the mark before its next epoch."""
        reason = self._plan.reported(trial.trial_id, epoch, best)
        if reason is not None:
            mark = PruneMark(epoch, reason, self._plan.rule(trial.trial_id))
            write_mark(self._results, trial.trial_id, mark)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Takes the trial's record from the ledger, whatever Ray says of it."""
        trial = self._trials.pop(trial_id, None)
        stall = self._stalls.pop(trial.trial_id, None) if trial is not None else None
        if error:
            self._died(stalled=stall is not None)
        if self._rests.ended(trial_id) or trial is None:
            return
        try:
            self._end(trial, died=error, stall=stall)
        except Exception as failure:  # noqa: BLE001  (Ray would log it and wait for ever)
            self.failure = failure

    def out_of_space(self) -> None:
        """A worker found the disk of the results folder full."""
        self.failure = self.failure or disk_full(self._results)

    def _died(self, *, stalled: bool) -> None:
        self._rests.died()
        self._deaths += not stalled
        if self._deaths > _DEATHS_PER_SLOT * self._slots:
            self.failure = SweepFailedError(
                f"{self._deaths} worker processes in a row died before they did anything; "
                f"{self._results / 'fairsweep.log'} says why"
            )

    def _end(self, trial: Trial, *, died: bool, stall: Stall | None) -> None:
        ledger = self._plan.ledger
        if died:
            forget_signs(self._results, trial.trial_id)
        record = ledger.read(trial.trial_id)
        if died and record is not None and not self._plan.serves(trial.trial_id, record):
            record = None  # an old one, of a trial that another rule stopped
        if record is None and died and self._attempts[trial.trial_id] <= self._resources.retries:
            # Ray itself would not retry a trial that an actor died from taking over.
            self._again.append(trial)
            return
        if record is None and stall is not None:
            record = ledger.write_failure(
                trial,
                "Stalled",
                f"it made no progress for {stall.seconds:.0f} s (resources.stall_seconds), at "
                f"attempt {self._attempts[trial.trial_id]}, and its worker was killed",
                stall.trace,
            )
        elif record is None and died:
            record = ledger.write_failure(
                trial, "WorkerDied", "its worker process died or could not start, at every attempt"
            )
        elif record is None:
            record = ledger.write_failure(
                trial, "RecordMissing", "it ended without an intact record in the ledger"
            )
        self._plan.end(trial.trial_id, record)
        if record.status == "pruned":
            self._call_off()
        self._events.ended(trial, record)

    def _call_off(self) -> None:
        """Marks trials that Tune holds ready and nobody wants any more: they end as they begin."""
        for trial, reason in self._plan.superfluous():
            rule = self._plan.rule(trial.trial_id)
            mark = read_mark(self._results, trial.trial_id)
            if mark is None or not same_rule(mark.rule, rule):
                write_mark(self._results, trial.trial_id, PruneMark(0, reason, rule))

    def save(self, checkpoint_path: str) -> None:
        """Saves nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restores nothing: a sweep continues from the ledger."""

    def get_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing."""


class TuneEvents(_NotPickled, Callback):
    """Tells the searcher of starts, logs why workers died, and lets go of what has ended.

    Args:
        searcher: The searcher of the sweep.
    """

    def __init__(self, searcher: PlanSearcher) -> None:
        self._searcher = searcher
        self._forgetting = Forgetting()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An actor took a trial or rest."""
        self._searcher.on_start(trial.trial_id)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial or rest has ended, and the searcher has been told."""
        self._forgetting.forget(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died, or could not start a trial."""
        text = _reason(trial)
        logger.warning("a worker died; its trial is taken up again: %s", brief_reason(text))
        if is_out_of_space(text):
            self._searcher.out_of_space()


def _reason(trial: Any) -> str:
    """Why a worker died; all that Ray wrote of it goes to Ray's log."""
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8").strip()
    except (OSError, TypeError):
        return ""
    if text:
        logging.getLogger("ray").warning("a worker died:\n%s", text)
    return text


class SweepStopper(_NotPickled, Stopper):
    """Ends rests when there is work, and the whole sweep when asked to.

    Args:
        searcher: The searcher of the sweep.
        stop: Whether to stop everything; asked several times a second.
    """

    def __init__(self, searcher: PlanSearcher, stop: Callable[[], bool]) -> None:
        self._searcher = searcher
        self._stop = stop

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether a rest should end; trials end by themselves."""
        return self._searcher.on_result(trial_id, result)

    def stop_all(self) -> bool:
        """Whether to stop everything."""
        return self._stop() or self._searcher.failure is not None
