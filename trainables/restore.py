"""A trained model from a results folder: the record says what it is, the checkpoint holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mtl_methods import Method
from mtl_methods.configuration import closest
from mtl_methods.errors import FairsweepError
from trainables.checkpoint import best_checkpoint_path, load_checkpoint
from trainables.data import DataCache, SplitTensors
from trainables.errors import CheckpointNotKeptError, CorruptFileError
from trainables.model import MTLModel
from trainables.problem import Problem
from trainables.record import read_record, record_path
from trainables.spec import TrialSpec
from trainables.training import Trainer

__all__ = ["RestoredTrial", "restore_best"]


@dataclass(frozen=True)
class RestoredTrial:
    """A trial that ended, as it was at its best epoch.

    Attributes:
        record: Its record in the ledger.
        spec: Its specification.
        problem: Its problem.
        model: The model with the parameters of the best epoch.
        method: The method; heads of some methods read features through it.
        data: The tensors of the problem, by split.
        tasks: The tasks that were trained or compared, in the problem's order.
    """

    record: Mapping[str, Any]
    spec: TrialSpec
    problem: Problem[Any]
    model: MTLModel
    method: Method
    data: SplitTensors
    tasks: tuple[str, ...]


def restore_best(
    results_dir: str | Path,
    trial_id: str,
    data: DataCache | None = None,
    *,
    device: torch.device | str = "cpu",
) -> RestoredTrial:
    """Rebuilds the model of a trial's best epoch.

    Args:
        results_dir: The results folder.
        trial_id: The trial.
        data: Where tensors come from; may serve many trials. Its device must be ``device``.
        device: Where the model shall live.

    Raises:
        FairsweepError: If the ledger has no such trial, or the trial did not finish.
        CheckpointNotKeptError: If the parameters of its best epoch were not kept.
        CorruptFileError: If record or checkpoint are damaged or do not belong together.
    """
    folder = Path(results_dir)
    record = _finished_record(folder, trial_id)
    payload = _payload(folder, trial_id, record)
    spec = TrialSpec.from_dict(record["spec"])
    cache = data if data is not None else DataCache(device=device)
    problem = spec.make_problem()
    tensors = cache.tensors(problem)
    trainer = Trainer(spec, tensors, device=device)
    try:
        trainer.model.load_state_dict(payload["model"])
        trainer.method.load_state_dict(payload["method"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"the checkpoint {best_checkpoint_path(folder, trial_id)} does not fit the model of "
            f"trial {trial_id}, so another version wrote it: {error}"
        ) from error
    row = record["epochs"][record["best_epoch"] - 1]
    return RestoredTrial(
        record=record,
        spec=spec,
        problem=problem,
        model=trainer.model,
        method=trainer.method,
        data=tensors,
        tasks=tuple(t.name for t in problem.tasks if f"validation_loss.{t.name}" in row),
    )


def _finished_record(folder: Path, trial_id: str) -> dict[str, Any]:
    known = sorted(path.stem for path in (folder / "ledger").glob("*.json"))
    if trial_id not in known:
        raise FairsweepError(
            f"the ledger of {folder} has no trial {trial_id!r}{closest(trial_id, known)}; it holds "
            f"{len(known)} trials that have ended"
        )
    record = read_record(record_path(folder, trial_id))
    if record["trial_id"] != trial_id:
        raise CorruptFileError(
            f"the ledger record {record_path(folder, trial_id)} belongs to another trial"
        )
    if record["status"] != "finished":
        raise FairsweepError(
            f"trial {trial_id} {record['status']}, so there are no parameters of a best epoch"
        )
    return record


def _payload(folder: Path, trial_id: str, record: Mapping[str, Any]) -> dict[str, Any]:
    path = best_checkpoint_path(folder, trial_id)
    try:
        payload = load_checkpoint(path)
    except FileNotFoundError:
        raise CheckpointNotKeptError(
            f"trial {trial_id} kept no checkpoint of its best epoch ({path}); set "
            "resources.keep_checkpoints: best in the study, which keeps it for trials that read "
            "the test split, or run_trial(keep_best=True), and give a new results folder, since "
            "trials that have ended are not repeated"
        ) from None
    expected = (trial_id, record["best_epoch"])
    if (payload.get("trial_id"), payload.get("epoch")) != expected:
        raise CorruptFileError(
            f"the checkpoint {path} is not that of the best epoch of trial {trial_id}"
        )
    return payload
