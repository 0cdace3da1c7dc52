"""The tables of a results folder, made from the ledger: what ``analysis`` reads.

``trials.parquet`` has one row for each trial of the plan that ended; what an earlier version of the
study ran and this one does not want stays in the ledger only:

=========================  ========================================================================
``trial_id``               identity of what it computed; a trial that a second variant shares is
                           listed for it too, as ``<trial_id>@<variant>``
``phase``                  baselines, search, replicate, fixed_weights, weight_sweep, sensitivity
                           or population
``method``, ``variant``    registered name, and label in tables (``fairgrad``, ``stl:CL``,
                           ``fixed(cagrad)``, ``ls[0.10,1.90]``)
``source_method``          for fixed weights, the label of the method they come from
``configuration_id``       the same for all seeds of a configuration
``seed``                   seed of the training run
``status``                 finished, diverged, failed, or pruned (stopped early)
``epochs``, ``best_epoch`` completed epochs; the one that was selected, counted from 1
``seconds``                wall-clock seconds, and ``seconds_per_epoch``
``hp.<name>``              the method's hyper-parameters; task weights as ``hp.weights.<task>``
``training.<name>``        lr, dropout, weight_decay, batch_size, ...
``static_weight.<task>``   weights of a point of the weight sweep, summing to 1
``validation.<measure>``   ``<task>.<metric>``, ``delta_mtm``, ``delta_m`` at the best epoch
``test.<task>.<metric>``   the same on the test split, where it was read
``error_<what>``           type, message, task, epoch, step of what went wrong
``event.<name>``           how often a rare event of the method happened
=========================  ========================================================================

``epochs.parquet`` has one row for each epoch: ``trial_id``, ``phase``, ``method``, ``variant``,
``seed``, then the row as the trial reported it (:mod:`trainables.training`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sweeps.folder.ledger import Record
from sweeps.planning.trials import Trial
from trainables.files import write_atomically

__all__ = ["epoch_rows", "trial_rows", "write_tables"]

_ERROR_KEYS = ("type", "message", "task", "epoch", "step")


def write_tables(folder: Path, ended: Iterable[tuple[Trial, Record]]) -> None:
    """Writes ``trials.parquet`` and ``epochs.parquet``, each completely or not at all.

    Args:
        folder: The results folder.
        ended: The trials of the plan that have ended.
    """
    ended = list(ended)
    trials = pd.DataFrame(trial_rows(ended), columns=None if ended else _empty_trials())
    epochs = pd.DataFrame(epoch_rows(ended))
    if epochs.empty:
        epochs = pd.DataFrame(columns=["trial_id", "phase", "method", "variant", "seed", "epoch"])
    for name, table in (("trials", trials), ("epochs", epochs)):
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        write_atomically(folder / f"{name}.parquet", buffer.getvalue())


def trial_rows(ended: Iterable[tuple[Trial, Record]]) -> list[dict[str, Any]]:
    """One row for each trial that ended."""
    return [_trial_row(name, trial, record) for name, trial, record in _named(ended)]


def epoch_rows(ended: Iterable[tuple[Trial, Record]]) -> list[dict[str, Any]]:
    """One row for each epoch of each trial that ended."""
    return [
        {**_labels(name, trial), **row}
        for name, trial, record in _named(ended)
        for row in record.epochs()
    ]


def _named(ended: Iterable[tuple[Trial, Record]]) -> Iterable[tuple[str, Trial, Record]]:
    """The trials with names that are unique in a table."""
    seen: set[str] = set()
    for trial, record in ended:
        name = trial.trial_id
        if name in seen:
            name = f"{trial.trial_id}@{trial.variant}"
        if name in seen:
            name = f"{trial.trial_id}@{trial.variant}@{trial.phase}"
        if name not in seen:
            seen.add(name)
            yield name, trial, record


def _labels(name: str, trial: Trial) -> dict[str, Any]:
    return {
        "trial_id": name,
        "phase": trial.phase,
        "method": trial.method,
        "variant": trial.variant,
        "seed": trial.seed,
    }


def _trial_row(name: str, trial: Trial, record: Record) -> dict[str, Any]:
    summary, spec = record.summary, trial.spec
    completed = int(summary["completed_epochs"])
    row: dict[str, Any] = {
        **_labels(name, trial),
        "source_method": trial.source_method,
        "configuration_id": trial.configuration_id,
        "status": record.status,
        "epochs": completed,
        "best_epoch": summary.get("best_epoch"),
        "seconds": record.seconds,
        "seconds_per_epoch": record.seconds / completed if completed else None,
    }
    for key, value in spec["method"]["hyperparameters"].items():
        row.update(_flat(f"hp.{key}", value))
    for key, value in spec["training"].items():
        row.update(_flat(f"training.{key}", value))
    for task, weight in (trial.static_weights or {}).items():
        row[f"static_weight.{task}"] = weight
    for split in ("validation", "test"):
        for measure, value in (summary.get(split) or {}).items():
            row[f"{split}.{measure}"] = value
    for key in _ERROR_KEYS:
        row[f"error_{key}"] = record.error.get(key)
    for event, count in (summary.get("counters") or {}).items():
        row[f"event.{event}"] = count
    return row


def _flat(name: str, value: Any) -> dict[str, Any]:
    """A setting as cells: mappings and lists become one cell for each entry."""
    if isinstance(value, Mapping):
        return {f"{name}.{key}": item for key, item in value.items()}
    if isinstance(value, list | tuple):
        return {f"{name}.{index}": item for index, item in enumerate(value)}
    return {name: value}


def _empty_trials() -> list[str]:
    return [
        *("trial_id", "phase", "method", "variant", "seed", "source_method", "configuration_id"),
        *("status", "epochs", "best_epoch", "seconds", "seconds_per_epoch"),
    ]
