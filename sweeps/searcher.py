"""The seam to Ray Tune: a ``Searcher`` that hands out the trials of a plan.

One searcher feeds all phases and all methods through one Tuner, so that actors are reused from the
first trial to the last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ray.tune.callback import Callback
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from sweeps.ledger import Record
from sweeps.plan import Plan
from sweeps.rests import Rests
from sweeps.study import Resources
from sweeps.trials import Trial
from sweeps.worker import REST

__all__ = ["PlanSearcher", "SweepEvents", "SweepStopper", "TuneEvents"]

logger = logging.getLogger("sweeps")


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
        resources: How often trials checkpoint, and whether they have a GPU.
        slots: How many trials run at once.
        events: Told of everything that happens.
        first: A trial that has been taken from the plan already.

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
        first: Trial | None = None,
    ) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.workers: set[tuple[str, int]] = set()
        self._rests = Rests(slots)
        self._example: Trial | None = None
        self._plan = plan
        self._results = results
        self._resources = resources
        self._events = events
        self._first = first
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
        if self._first is None or not self._rests.starting:
            trial, self._first = self._first or self._plan.next(), None
            if trial is not None:
                return self._trial(trial_id, trial)
            if self._plan.finished:
                return str(Searcher.FINISHED)
        return self._rest(trial_id) if self._rests.wanted else None

    def _trial(self, ray_id: str, trial: Trial) -> dict[str, Any]:
        self._example = trial
        self._trials[ray_id] = trial
        self._rests.trial_given(ray_id)
        self._events.started(trial)
        return {
            "spec": dict(trial.spec),
            "trial_id": trial.trial_id,
            "phase": trial.phase,
            "results_dir": str(self._results),
            "checkpoint_every_s": self._resources.checkpoint_every_seconds,
            "device": "cuda" if self._resources.gpus_per_trial else "cpu",
        }

    def _rest(self, ray_id: str) -> dict[str, Any] | None:
        example = self._example or self._first
        if example is None:
            return None
        self._rests.rest_given(ray_id)
        return {"spec": dict(example.spec), REST: self._rests.interval}

    def on_start(self, trial_id: str) -> None:
        """An actor took a trial or rest."""
        self._rests.started(trial_id)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Passes progress on."""
        trial, epoch = self._trials.get(trial_id), result.get("epoch")
        if trial is not None and isinstance(epoch, int):
            self._note_worker(result)
            self._events.progressed(trial, epoch)

    def _note_worker(self, result: Mapping[str, Any] | None) -> None:
        if result and "pid" in result:
            self.workers.add((str(result.get("node_ip")), int(result["pid"])))

    def rest_is_over(self, trial_id: str) -> bool:
        """Whether what has just reported is a rest that should end."""
        no_more = self._plan.finished or self.failure is not None
        return self._rests.is_over(trial_id, no_more=no_more)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Takes the trial's record from the ledger, whatever Ray says of it."""
        trial = self._trials.pop(trial_id, None)
        if self._rests.ended(trial_id) or trial is None:
            return
        self._note_worker(result)
        try:
            self._end(trial, died=error)
        except Exception as failure:  # noqa: BLE001  (Ray would log it and wait for ever)
            self.failure = failure

    def _end(self, trial: Trial, *, died: bool) -> None:
        ledger = self._plan.ledger
        record = ledger.read(trial.trial_id)
        if record is None and died:
            record = ledger.write_failure(
                trial, "WorkerDied", "its worker process died or could not start, at every attempt"
            )
        elif record is None:
            record = ledger.write_failure(
                trial, "RecordMissing", "it ended without an intact record in the ledger"
            )
        self._plan.end(trial.trial_id, record)
        self._events.ended(trial, record)

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
    """Tells the searcher of starts, and logs what Ray says of workers that died.

    Args:
        searcher: The searcher of the sweep.
    """

    def __init__(self, searcher: PlanSearcher) -> None:
        self._searcher = searcher

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An actor took a trial or rest."""
        self._searcher.on_start(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial is tried again."""
        logger.warning("a worker died; its trial is resumed: %s", _reason(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial is given up."""
        logger.error("a trial was given up: %s", _reason(trial))


def _reason(trial: Any) -> str:
    error = trial.get_error()
    lines = str(error).strip().splitlines() if error is not None else []
    return lines[-1] if lines else "no reason was given"


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
        return self._searcher.rest_is_over(trial_id)

    def stop_all(self) -> bool:
        """Whether to stop everything."""
        return self._stop() or self._searcher.failure is not None
