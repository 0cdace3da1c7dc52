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
from sweeps.study import Resources
from sweeps.trials import Trial

__all__ = ["FailureNotes", "PlanSearcher", "StopWhen", "SweepEvents"]

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


class PlanSearcher(_NotPickled, Searcher):  # type: ignore[misc]
    """Suggests the next trial of a plan, and tells the plan how it ended.

    Args:
        plan: What is to be run.
        results: The results folder, absolute.
        resources: How often trials checkpoint, and whether they have a GPU.
        events: Told of everything that happens.
        first: A trial that has been taken from the plan already.

    Attributes:
        failure: What went wrong on our side of the seam, where Ray would only log it; the sweep
            must stop then.
    """

    def __init__(
        self,
        plan: Plan,
        results: Path,
        *,
        resources: Resources,
        events: SweepEvents,
        first: Trial | None = None,
    ) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self._plan = plan
        self._results = results
        self._resources = resources
        self._events = events
        self._first = first
        self._trials: dict[str, Trial] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial as a configuration of the trainable.

        Returns:
            The configuration; ``None`` while trials wait for the results of others;
            ``Searcher.FINISHED`` when everything has been handed out and has ended.
        """
        if self.failure is not None:
            return None
        trial, self._first = self._first or self._plan.next(), None
        if trial is None:
            return str(Searcher.FINISHED) if self._plan.finished else None
        self._trials[trial_id] = trial
        self._events.started(trial)
        return {
            "spec": dict(trial.spec),
            "trial_id": trial.trial_id,
            "phase": trial.phase,
            "results_dir": str(self._results),
            "checkpoint_every_s": self._resources.checkpoint_every_seconds,
            "device": "cuda" if self._resources.gpus_per_trial else "cpu",
        }

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Passes progress on."""
        epoch = result.get("epoch")
        if trial_id in self._trials and isinstance(epoch, int):
            self._events.progressed(self._trials[trial_id], epoch)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Takes the trial's record from the ledger, whatever Ray says of it."""
        trial = self._trials.pop(trial_id, None)
        if trial is None:
            return
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


class FailureNotes(_NotPickled, Callback):  # type: ignore[misc]
    """Logs what Ray says of workers that died, which no worker could record."""

    def on_trial_recover(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """A trial is tried again."""
        logger.warning("a worker died; its trial is resumed: %s", _reason(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial is given up."""
        logger.error("a trial was given up: %s", _reason(trial))


def _reason(trial: Any) -> str:
    error = trial.get_error()
    lines = str(error).strip().splitlines() if error is not None else []
    return lines[0] if lines else "no reason was given"


class StopWhen(_NotPickled, Stopper):  # type: ignore[misc]
    """Stops the whole sweep as soon as a condition holds."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Never stops a single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop everything."""
        return self._condition()
