"""Trials in other tools: TensorBoard and MLflow, written from the ledger as trials end.

Ray has callbacks for both, but they see what Ray sees: rests between trials, epochs that a trial
repeats after a worker died, and nothing of what an earlier run had finished. The ledger has each
trial once, complete.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sweeps.definition.study import Trackers
from sweeps.errors import ResultsFolderError
from sweeps.folder.ledger import Record
from sweeps.planning.trials import Trial
from trainables.optional import optional_import

__all__ = [
    "MlflowTracker",
    "TensorboardTracker",
    "Tracker",
    "check_trackers",
    "make_trackers",
    "tracking",
]

logger = logging.getLogger("sweeps")

_UNSAFE = re.compile(r"[^A-Za-z0-9_.+,()\[\]-]")
_PARAMS_AT_ONCE, _METRICS_AT_ONCE, _LONGEST_VALUE = 100, 1000, 500


class Tracker(ABC):
    """Somewhere that trials are written to."""

    name: str

    @abstractmethod
    def knows(self, trial: Trial) -> bool:
        """Whether the trial has been written before."""

    @abstractmethod
    def write(self, trial: Trial, record: Record) -> None:
        """Writes a trial that has ended."""


class TensorboardTracker(Tracker):
    """Event files below ``tensorboard/`` in the results folder, a folder for each trial.

    Args:
        results: The results folder.
    """

    name = "tensorboard"

    def __init__(self, results: Path) -> None:
        self._writer = _tensorboard().SummaryWriter
        self._folder = results / "tensorboard"

    def _place(self, trial: Trial) -> Path:
        variant = _UNSAFE.sub("_", trial.variant).lstrip(".") or "_"
        return self._folder / trial.phase / variant / f"seed{trial.seed}-{trial.trial_id}"

    def knows(self, trial: Trial) -> bool:
        """Whether the trial has a complete folder."""
        return (self._place(trial) / "complete").is_file()

    def write(self, trial: Trial, record: Record) -> None:
        """A scalar for each number of each epoch, and the settings as text."""
        place = self._place(trial)
        for path in place.glob("events.*"):  # of a run that was killed while it wrote
            path.unlink()
        with contextlib.closing(self._writer(str(place))) as writer:
            for row in record.epochs():
                for key, value in _numbers(row):
                    writer.add_scalar(key.replace(".", "/", 1), value, int(row["epoch"]))
            settings = "\n".join(f"    {key} = {value}" for key, value in _settings(trial).items())
            writer.add_text("settings", settings)
        (place / "complete").touch()


class MlflowTracker(Tracker):
    """A run of MLflow for each trial.

    Args:
        results: The results folder.
        study: The study's name, which the experiment gets.
        uri: The tracking server; ``mlflow.db`` in the results folder without one.

    Raises:
        ResultsFolderError: If the server cannot be reached.
    """

    name = "mlflow"

    def __init__(self, results: Path, study: str, uri: str | None) -> None:
        mlflow = _mlflow()
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = mlflow.MlflowClient(tracking_uri=uri or f"sqlite:///{results}/mlflow.db")
        self._metric, self._param = mlflow.entities.Metric, mlflow.entities.Param
        try:
            found = self._client.get_experiment_by_name(study)
            self._experiment = found.experiment_id if found else self._create(study, results, uri)
            self._known = self._find_known()
        except Exception as error:  # whatever MLflow, its database or a server says
            reason = str(error).strip().splitlines()
            raise ResultsFolderError(
                f"trackers.mlflow: {uri or results / 'mlflow.db'} cannot be used "
                f"({reason[0] if reason else type(error).__name__})"
            ) from error

    def _create(self, study: str, results: Path, uri: str | None) -> str:
        place = None if uri else (results / "mlflow-artifacts").as_uri()
        return str(self._client.create_experiment(study, artifact_location=place))

    def _find_known(self) -> set[str]:
        known: set[str] = set()
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], "tags.fairsweep_complete = 'yes'", page_token=token
            )
            known |= {str(run.data.tags.get("fairsweep_trial")) for run in page}
            token = page.token
            if not token:
                return known

    def knows(self, trial: Trial) -> bool:
        """Whether there is a complete run of the trial."""
        return trial.trial_id in self._known

    def write(self, trial: Trial, record: Record) -> None:
        """A metric for each number of each epoch, the settings as parameters."""
        started, ended = (_milliseconds(record.summary.get(key)) for key in ("started", "ended"))
        run = self._client.create_run(
            self._experiment,
            start_time=started,
            run_name=f"{trial.phase} {trial.variant} seed {trial.seed}",
            tags={
                "fairsweep_trial": trial.trial_id,
                "phase": trial.phase,
                "variant": trial.variant,
                "status": record.status,
            },
        ).info.run_id
        params = [
            self._param(_UNSAFE.sub("_", key), str(value)[:_LONGEST_VALUE])
            for key, value in _settings(trial).items()
        ]
        metrics = [
            self._metric(_UNSAFE.sub("_", key), value, ended or 0, int(row["epoch"]))
            for row in record.epochs()
            for key, value in _numbers(row)
        ]
        for at in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(run, params=params[at : at + _PARAMS_AT_ONCE])
        for at in range(0, len(metrics), _METRICS_AT_ONCE):
            self._client.log_batch(run, metrics=metrics[at : at + _METRICS_AT_ONCE])
        self._client.set_tag(run, "fairsweep_complete", "yes")
        status = "FINISHED" if record.status in {"finished", "pruned"} else "FAILED"
        self._client.set_terminated(run, status, end_time=ended)
        self._known.add(trial.trial_id)


def check_trackers(trackers: Trackers | None) -> None:
    """Checks that the packages of the trackers that a study asks for are installed.

    Raises:
        MissingExtraError: If one is not.
    """
    if trackers is not None and trackers.tensorboard:
        _tensorboard()
    if trackers is not None and trackers.mlflow is not None:
        _mlflow()


def _tensorboard() -> Any:
    return optional_import("tensorboardX", extra="tensorboard", purpose="trackers.tensorboard")


def _mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return optional_import("mlflow", extra="mlflow", purpose="trackers.mlflow")


def make_trackers(trackers: Trackers | None, results: Path, study: str) -> list[Tracker]:
    """The trackers that a study asks for.

    Raises:
        MissingExtraError: If a package is not installed.
        ResultsFolderError: If one cannot be used.
    """
    found: list[Tracker] = []
    if trackers is not None and trackers.tensorboard:
        found.append(TensorboardTracker(results))
    if trackers is not None and trackers.mlflow is not None:
        found.append(MlflowTracker(results, study, trackers.mlflow.uri))
    return found


class _Writer:
    """Writes trials in a thread of its own, so that a slow server costs no slot."""

    def __init__(self, trackers: list[Tracker]) -> None:
        self._trackers = trackers
        self._waiting: queue.Queue[tuple[Trial, Record] | None] = queue.Queue()
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)
        if trackers:
            self._thread.start()

    def __call__(self, trial: Trial, record: Record) -> None:
        """Takes a trial that has ended; failed ones run again, and are not written."""
        if self._trackers and record.status != "failed":
            self._waiting.put((trial, record))

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            for tracker in self._trackers:
                self._write(tracker, *item)

    def _write(self, tracker: Tracker, trial: Trial, record: Record) -> None:
        try:
            if not tracker.knows(trial):
                tracker.write(trial, record)
        except Exception as error:  # noqa: BLE001  (whatever a tool or a server says)
            if tracker.name not in self._said:
                self._said.add(tracker.name)
                logger.warning("%s cannot be written, the sweep goes on: %s", tracker.name, error)

    def end(self, patience: float) -> None:
        """Waits for what is to be written, for so many seconds."""
        if self._trackers:
            self._waiting.put(None)
            self._thread.join(patience)
            if self._thread.is_alive():
                logger.warning("trackers are behind; running the study again writes the rest")


@contextlib.contextmanager
def tracking(
    trackers: list[Tracker], patience: Callable[[], float]
) -> Iterator[Callable[[Trial, Record], None]]:
    """Gives something to call with each trial that ends.

    Args:
        trackers: Where trials are written to.
        patience: For how many seconds to wait for them at the end.
    """
    writer = _Writer(trackers)
    try:
        yield writer
    finally:
        writer.end(patience())


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if key != "epoch" and isinstance(value, int | float) and not isinstance(value, bool):
            yield key, float(value)


def _settings(trial: Trial) -> dict[str, Any]:
    method, training = trial.spec["method"], trial.spec["training"]
    return {
        "method": trial.method,
        "seed": trial.seed,
        **{f"hp.{key}": value for key, value in method["hyperparameters"].items()},
        **{f"training.{key}": value for key, value in training.items()},
    }


def _milliseconds(moment: Any) -> int | None:
    try:
        return int(datetime.fromisoformat(str(moment)).timestamp() * 1000)
    except ValueError:
        return None
