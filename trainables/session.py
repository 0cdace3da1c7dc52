"""A trial from start to end: epochs, checkpoints, and the record in the ledger.

What an epoch needs is in :mod:`trainables.training`; this is everything around it, the same with
and without Ray.
"""

from __future__ import annotations

import copy
import logging
import math
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from trainables.checkpoint import (
    best_checkpoint_path,
    checkpoint_path,
    handover_path,
    load_checkpoint,
    save_checkpoint,
)
from trainables.data import DataCache
from trainables.errors import CorruptFileError, DivergedError
from trainables.pruning import PrunedError, read_mark, same_rule
from trainables.record import FORMAT, read_record, record_path, write_record
from trainables.spec import TrialSpec
from trainables.training import Trainer

__all__ = ["TrialSession"]

logger = logging.getLogger(__name__)

_CHECKPOINT_FORMAT = 1
_LONG_EPOCH_S = 2.0
_SAVING_SHARE = 0.02  # of a long epoch, which saving after each may cost
_STATUSES = {DivergedError: "diverged", PrunedError: "pruned"}


class TrialSession:
    """Runs one trial step by step; a step is an epoch.

    With a results folder, an unfinished trial continues from its checkpoint there, whoever ran it
    before, and a trial whose record says that it finished or diverged is not run again. A record
    of a failed trial is ignored, and replaced at the end; so is that of a trial that was stopped
    early, where it may not be.

    Args:
        spec: What the trial computes.
        data: Where the tensors come from; may serve many sessions.
        phase: The phase of a study, for the record.
        results_dir: The results folder; ``None`` writes nothing.
        checkpoint_every_s: Seconds after which the end of an epoch is saved, 0 for every one.
            Epochs of two seconds or more are saved as they end, where that costs little of them.
        device: Where to train.
        raise_on_failure: Whether an exception that is no divergence is raised again after it was
            recorded.
        keep_best: Whether the parameters of the best epoch are kept as
            ``checkpoints/<trial_id>/best.pt`` when the trial has finished.
        keep_last: Whether the state after the last epoch is kept as
            ``checkpoints/<trial_id>/last.pt`` when the trial has finished.
        on_progress: Called after every optimiser step, evaluated batch and loaded array, and before
            and after what else takes long.
        prunable: Whether the trial ends early when a mark says so (:mod:`trainables.pruning`).
            If it continues from a checkpoint, its first step trains nothing and reports the last
            epoch again: whoever decides may not have been told of it.
        rule: By which rule it may be stopped; marks and records of other rules are ignored.
        hand_on: Whether the state after the last epoch is left for another trial.
        continues: The trial that left its state for this one. This one must compute, for as many
            epochs as that one had, the same: it spares them then, and starts at its first epoch
            where the state is not to be had.

    Attributes:
        spec: The specification.
        trial_id: Its identity.
        record: The record, once the trial has ended.
        trainer: The trainer, once the first step began.
    """

    def __init__(
        self,
        spec: TrialSpec,
        data: DataCache,
        *,
        phase: str = "",
        results_dir: str | Path | None = None,
        checkpoint_every_s: float = 30.0,
        device: torch.device | str = "cpu",
        raise_on_failure: bool = False,
        keep_best: bool = False,
        keep_last: bool = False,
        on_progress: Callable[[], None] = lambda: None,
        prunable: bool = False,
        rule: str = "",
        hand_on: bool = False,
        continues: str | None = None,
    ) -> None:
        self.spec = spec
        self.trial_id = spec.trial_id
        self.trainer: Trainer | None = None
        self._data = data
        self._phase = phase
        self._results_dir = None if results_dir is None else Path(results_dir)
        self._checkpoint_every_s = checkpoint_every_s
        self._device = device
        self._raise_on_failure = raise_on_failure
        self._keep_best = keep_best
        self._keep_last = keep_last
        self._on_progress = on_progress
        self._prunable = prunable
        self._rule = rule
        self._hand_on = hand_on
        self._continues = continues
        self._last: dict[str, Any] | None = None
        self._started = _now()
        self._seconds = 0.0
        self._saved_at = time.monotonic()
        self._save_seconds = 0.0
        self._saved_epoch = 0
        self._untold = False
        self._resumed: dict[str, Any] | None = None
        self.record = self._find_record()
        if self.record is None and self._results_dir is not None:
            self._resumed = self._find_checkpoint()

    # ----------------------------------------------------------------- running

    def step(self) -> dict[str, Any]:
        """Runs an epoch, or reports one again, and after the last ends the trial.

        Returns:
            The epoch's row with three more keys: ``status`` (``"running"`` or how the trial
            ended), ``objective`` (the best selection measure so far, NaN if the trial diverged or
            failed) and ``done``.

        Raises:
            OSError: If checkpoint or record cannot be written.
        """
        if self.record is not None:
            return self._result()
        started = time.perf_counter()
        test = None
        error: Exception | None = None
        try:
            self._on_progress()
            trainer = self._ready_trainer()
            self._on_progress()
            self._obey_mark(trainer.epoch)
            trains = not self._untold and not trainer.complete
            self._untold = False
            if trains:
                trainer.run_epoch()
                self._on_progress()
            if trainer.complete:
                if self._keep_last or self._hand_on:
                    self._last = copy.deepcopy(self.payload())
                trainer.load_best()
                if self.spec.evaluate_test:
                    test = _flat(trainer.evaluate_test())
        except DivergedError as diverged:
            logger.warning("trial %s: %s", self.trial_id, diverged)
            error = diverged
        except PrunedError as pruned:
            error = pruned
        except Exception as failure:
            logger.exception("trial %s failed", self.trial_id)
            error = failure
        took = time.perf_counter() - started
        self._seconds += took
        if error is not None:
            status = _STATUSES.get(type(error), "failed")
            self._end(status, error, None)
            if self._raise_on_failure and status == "failed":
                raise error
        elif trainer.complete:
            self._end("finished", None, test)
        elif trains and self._due(took):
            self.save()
        return self._result()

    def _due(self, took: float) -> bool:
        """Whether to save after an epoch that took so many seconds.

        A stop waits some seconds for running epochs and no longer; long ones are saved as they
        end, so that it costs none that was complete.
        """
        if time.monotonic() - self._saved_at >= self._checkpoint_every_s:
            return True
        return took >= _LONG_EPOCH_S and self._save_seconds <= _SAVING_SHARE * took

    def _obey_mark(self, epoch: int) -> None:
        """Ends the trial if a mark says that so many epochs are enough."""
        if not self._prunable or self._results_dir is None:
            return
        mark = read_mark(self._results_dir, self.trial_id)
        if mark is not None and mark.holds(epoch) and same_rule(mark.rule, self._rule):
            raise PrunedError(mark.reason, mark.rule)

    def run(self) -> dict[str, Any]:
        """Runs all remaining epochs and returns the record."""
        while self.record is None:
            self.step()
        return self.record

    def close(self) -> None:
        """Saves an unfinished trial so that it can go on elsewhere; not to be stepped after it."""
        if self.record is None and self.trainer is not None:
            if self.trainer.epoch > self._saved_epoch:
                self.save()
            self.trainer = None

    # ------------------------------------------------------------- checkpoints

    def payload(self) -> dict[str, Any]:
        """What a checkpoint holds: tensors and plain values."""
        return {
            "format": _CHECKPOINT_FORMAT,
            "trial_id": self.trial_id,
            "epoch": 0 if self.trainer is None else self.trainer.epoch,
            "started": self._started,
            "seconds": self._seconds,
            "trainer": None if self.trainer is None else self.trainer.state_dict(),
        }

    def restore(self, payload: Mapping[str, Any]) -> None:
        """Continues from a payload, unless this session is already as far.

        Raises:
            CorruptFileError: If the payload belongs to another trial or format.
        """
        self._check_payload(payload, self.trial_id)
        epoch = 0 if self.trainer is None else self.trainer.epoch
        waiting = 0 if self._resumed is None else int(self._resumed["epoch"])
        if payload["trainer"] is not None and payload["epoch"] > max(epoch, waiting):
            self._resumed = dict(payload)
            self.trainer = None

    def save(self) -> None:
        """Writes the checkpoint; does nothing without a results folder.

        Raises:
            OSError: If it cannot be written.
        """
        self._saved_at = time.monotonic()
        if self._results_dir is None or self.trainer is None:
            return
        started = time.perf_counter()
        save_checkpoint(checkpoint_path(self._results_dir, self.trial_id), self.payload())
        self._save_seconds = time.perf_counter() - started
        self._saved_epoch = self.trainer.epoch

    def _ready_trainer(self) -> Trainer:
        if self.trainer is None:
            problem = self.spec.make_problem()
            trainer = Trainer(
                self.spec,
                self._data.tensors(problem, self._on_progress),
                device=self._device,
                on_progress=self._on_progress,
            )
            if self._resumed is not None:
                trainer.load_state_dict(self._resumed["trainer"])
                self._started = self._resumed["started"]
                self._seconds = self._resumed["seconds"]
                self._saved_epoch = trainer.epoch
                self._untold = self._prunable and trainer.epoch > 0
                self._resumed = None
                logger.info("trial %s continues after epoch %d", self.trial_id, trainer.epoch)
            self.trainer = trainer
        return self.trainer

    def _find_checkpoint(self) -> dict[str, Any] | None:
        assert self._results_dir is not None
        found = self._load(checkpoint_path(self._results_dir, self.trial_id), self.trial_id)
        if found is None and self._continues is not None:
            found = self._load(handover_path(self._results_dir, self._continues), self._continues)
            if found is None:
                logger.info(
                    "trial %s starts at its first epoch: trial %s left no state",
                    self.trial_id,
                    self._continues,
                )
        return found

    def _load(self, path: Path, trial_id: str) -> dict[str, Any] | None:
        try:
            payload = load_checkpoint(path)
            self._check_payload(payload, trial_id)
        except FileNotFoundError:
            return None
        except CorruptFileError as error:
            logger.warning("trial %s starts again: %s", self.trial_id, error)
            return None
        return payload

    def _check_payload(self, payload: Mapping[str, Any], trial_id: str) -> None:
        if payload.get("format") != _CHECKPOINT_FORMAT or payload.get("trial_id") != trial_id:
            raise CorruptFileError(f"this is no checkpoint of trial {trial_id}")
        shape = {"epoch": int, "started": str, "seconds": float, "trainer": dict | None}
        for key, kind in shape.items():
            if key not in payload or not isinstance(payload[key], kind):
                raise CorruptFileError(f"this checkpoint has no valid {key}")

    # ------------------------------------------------------------------ ending

    def _find_record(self) -> dict[str, Any] | None:
        if self._results_dir is None:
            return None
        try:
            record = read_record(record_path(self._results_dir, self.trial_id))
        except FileNotFoundError:
            return None
        except CorruptFileError as error:
            logger.warning("trial %s runs again: %s", self.trial_id, error)
            return None
        counts = self._prunable and same_rule(record.get("rule") or "", self._rule)
        ignored = {"failed"} if counts else {"failed", "pruned"}
        return None if record["status"] in ignored else record

    def _end(self, status: str, error: Exception | None, test: dict[str, float] | None) -> None:
        trainer = self.trainer
        best = None if trainer is None else trainer.best_row
        self.record = {
            "format": FORMAT,
            "trial_id": self.trial_id,
            "phase": self._phase,
            "spec": self.spec.to_dict(),
            "status": status,
            "error": None if error is None else _describe(error),
            "epochs": [] if trainer is None else [_without_nan(row) for row in trainer.rows],
            "best_epoch": None if trainer is None else trainer.best_epoch,
            "validation": None if best is None else _validation_part(best),
            "test": test,
            "seconds": self._seconds,
            "counters": {} if trainer is None else dict(trainer.counters),
            "started": self._started,
            "ended": _now(),
            "host": socket.gethostname(),
        }
        if isinstance(error, PrunedError) and error.rule:
            self.record["rule"] = error.rule
        if self._results_dir is None:
            return
        last = checkpoint_path(self._results_dir, self.trial_id)
        if self._last is not None and status == "finished":
            if self._keep_last:
                save_checkpoint(last, self._last)
            if self._hand_on:
                save_checkpoint(handover_path(self._results_dir, self.trial_id), self._last)
        if self._keep_best and status == "finished" and trainer is not None:
            best_payload = {
                "format": _CHECKPOINT_FORMAT,
                "trial_id": self.trial_id,
                "epoch": trainer.best_epoch,
                "model": dict(trainer.model.state_dict()),
                "method": trainer.method.state_dict(),
            }
            save_checkpoint(best_checkpoint_path(self._results_dir, self.trial_id), best_payload)
        write_record(record_path(self._results_dir, self.trial_id), self.record)
        # Only now: a trial that is killed before its record exists must find its checkpoint.
        if not (self._keep_last and status == "finished"):
            last.unlink(missing_ok=True)
        keeps = self._keep_best or self._keep_last or self._hand_on
        if not keeps and last.parent.exists():
            shutil.rmtree(last.parent)

    def _result(self) -> dict[str, Any]:
        if self.record is None:
            assert self.trainer is not None
            rows, best, status = self.trainer.rows, self.trainer.best_row, "running"
            objective = math.nan if best is None else float(best["selection"])
        else:
            rows, status = self.record["epochs"], self.record["status"]
            finished = status == "finished"
            objective = self.record["validation"]["selection"] if finished else math.nan
        row = rows[-1] if rows else {}
        return {**row, "status": status, "objective": objective, "done": status != "running"}


def _validation_part(row: Mapping[str, Any]) -> dict[str, float]:
    prefix = "validation."
    part = {key.removeprefix(prefix): row[key] for key in row if key.startswith(prefix)}
    return {**part, "selection": row["selection"]}


def _flat(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {
        f"{task}.{name}": value
        for task, metrics in values.items()
        for name, value in metrics.items()
    }


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: such a number (a solver's residual, say) becomes null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _describe(error: Exception) -> dict[str, Any]:
    diverged = error if isinstance(error, DivergedError) else None
    unexpected = type(error) not in _STATUSES
    cause = error.__cause__ if diverged is not None and error.__cause__ is not None else error
    return {
        "type": type(cause).__name__,
        "message": str(error),
        "task": None if diverged is None else diverged.task,
        "epoch": None if diverged is None else diverged.epoch,
        "step": None if diverged is None else diverged.step,
        "traceback": "".join(traceback.format_exception(error)) if unexpected else None,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
