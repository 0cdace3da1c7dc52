"""Disk space: what a study will need, whether it is there, and what is left to be removed."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeps.definition.resolved import ResolvedStudy
from sweeps.errors import DiskFullError, ResultsFolderError
from sweeps.folder.ledger import Ledger
from sweeps.phases.population import PopulationUnit
from sweeps.planning.plan import Plan

__all__ = [
    "DiskNeed",
    "check_space",
    "disk_full",
    "disk_need",
    "free_bytes",
    "is_disk_full",
    "saying_disk_full",
    "size",
    "tidy_checkpoints",
]

logger = logging.getLogger("sweeps")

_FULL = (errno.ENOSPC, errno.EDQUOT)
# A checkpoint beside its tensors: names, numbers of epochs, generators.
_CHECKPOINT_BYTES = 20_000
# A record in the ledger: its specification, and a line for each cell of each epoch.
_RECORD_BYTES, _CELL_BYTES = 2_500, 45
# Tables, figures, report and logs beside the ledger.
_TABLES_PER_LEDGER, _FIXED_BYTES = 0.7, 5_000_000
# Copies of the parameters in a checkpoint: the model, its best epoch, moments of the optimiser.
_COPIES = {"adam": 4, "adamw": 4, "sgd": 3}


@dataclass(frozen=True)
class DiskNeed:
    """What the trials that are left will write.

    Attributes:
        kept: Bytes of checkpoints that stay.
        running: Bytes of checkpoints of trials that run at once.
        rest: Bytes of ledger, tables and report.
    """

    kept: float
    running: float
    rest: float

    @property
    def total(self) -> float:
        """All of it, in bytes."""
        return self.kept + self.running + self.rest

    def describe(self) -> str:
        """In words: ``about 1.2 GB (1.0 GB of it checkpoints that are kept)``."""
        return f"about {size(self.total)} ({size(self.kept)} of it checkpoints that are kept)"


def size(count: float) -> str:
    """Bytes in words: ``1.2 GB``, ``7 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{math.ceil(count / 1e6)} MB"


def disk_need(plan: Plan, slots: int) -> DiskNeed:
    """What the trials of a plan that have not ended will write, from the size of the model.

    State that a method keeps beside the model is not counted.

    Args:
        plan: The plan.
        slots: How many trials run at once.
    """
    resolved = plan.resolved
    parameters = _model_bytes(resolved)
    optimizer = str(resolved.protocol["optimizer"])
    whole = _COPIES.get(optimizer, max(_COPIES.values())) * parameters + _CHECKPOINT_BYTES
    keep = resolved.study.resources.keep_checkpoints
    lengths, tested = _to_come(plan)
    kept = 0.0
    if keep != "none":
        kept += tested * (parameters + _CHECKPOINT_BYTES)
    if keep == "best_and_last":
        kept += tested * whole
    ledger = sum(_record_bytes(resolved, epochs) for epochs in lengths)
    return DiskNeed(
        kept=kept,
        # The old checkpoint and its successor; what a population hands on.
        running=(2 * min(slots, len(lengths)) + _states(plan)) * whole,
        rest=ledger * (1.0 + _TABLES_PER_LEDGER) + _FIXED_BYTES,
    )


def _to_come(plan: Plan) -> tuple[list[int], int]:
    """What will run: the epochs of each trial, and how many of them read the test split.

    Those that read it choose nothing, and are kept. Parts of a study that want the same trial
    share it, which is known as soon as their trials are.
    """
    searches = set(plan.context.tunings.values())
    epochs = int(plan.resolved.protocol["epochs"])
    known = {trial.trial_id: trial for trial in plan.given_out}
    lengths: list[int] = []
    tested = 0
    for unit in plan.units:
        if unit.blocked is not None:
            continue
        if unit.waiting is not None:
            known |= {trial.trial_id: trial for trial in unit.waiting}
            continue
        left = unit.lengths_left(epochs)
        lengths += left
        if unit not in searches and not isinstance(unit, PopulationUnit):
            tested += len(left)
    lengths += [trial.epochs for trial in known.values()]
    return lengths, tested + sum(trial.spec["evaluate_test"] for trial in known.values())


def _states(plan: Plan) -> int:
    """States that a population will hand on and that are not on the disk yet."""
    most = sum(unit.most_states for unit in plan.units if isinstance(unit, PopulationUnit))
    there = plan.context.search_folder.parent.glob("checkpoints/*/handover.pt")
    return max(0, most - sum(1 for _ in there))


def _model_bytes(resolved: ResolvedStudy) -> int:
    model = resolved.problem.build_model(seed=0)
    tensors = (*model.parameters(), *model.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _record_bytes(resolved: ResolvedStudy, epochs: int) -> float:
    metrics = sum(len(task.metrics) for task in resolved.tasks)
    cells = 10 + 4 * len(resolved.tasks) + 2 * metrics
    return _RECORD_BYTES + epochs * cells * _CELL_BYTES


def free_bytes(path: Path) -> int:
    """Free space on the disk of a folder, which need not be there yet."""
    path = path.expanduser().absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def check_space(path: Path, need: DiskNeed, free: int | None = None, where: str = "") -> None:
    """Refuses a study that does not fit.

    Args:
        path: The results folder.
        need: What will be written.
        free: Free bytes, if they have been asked for already.
        where: The machine they are of, for the message.

    Raises:
        ResultsFolderError: If it does not fit; says what to do.
    """
    free = free_bytes(path) if free is None else free
    if need.total > free:
        raise ResultsFolderError(
            f"the study needs {need.describe()} in {path}, where {size(free)} are free"
            f"{where}; make room, set resources.keep_checkpoints: none, or give a folder on "
            "another disk with --results"
        )


# ------------------------------------------------------------------ a full disk


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes from, is that a disk or a quota is full."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, DiskFullError):
            return True
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full(path: Path) -> DiskFullError:
    """The error to raise when the disk of a results folder is full."""
    try:
        free = f", {size(free_bytes(path))} free"
    except OSError:
        free = ""
    return DiskFullError(
        f"there is no room left for the results in {path}{free}; make room and run the same "
        "command again to continue: what has ended is kept"
    )


@contextlib.contextmanager
def saying_disk_full(path: Path) -> Iterator[None]:
    """Turns an error of a full disk into a sentence.

    Raises:
        DiskFullError: In place of the error.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if is_disk_full(error):
            raise disk_full(path) from error
        raise


# ------------------------------------------------------------------ what is left behind


def tidy_checkpoints(folder: Path, ledger: Ledger, keep: str) -> float:
    """Removes what killed runs have left: halves of files, checkpoints of trials that ended.

    A trial that ended keeps its best epoch, and its last if the study says so.

    Args:
        folder: The results folder, locked.
        ledger: What has ended.
        keep: ``resources.keep_checkpoints``.

    Returns:
        How many bytes were removed.
    """
    removed = 0.0
    halves = [
        *folder.glob(".*.tmp"),
        *folder.glob("*/.*.tmp"),
        *folder.glob("checkpoints/*/.*.tmp"),
    ]
    last: list[Path] = []
    for path in folder.glob("checkpoints/*/last.pt"):
        record = ledger.get(path.parent.name)
        ended = record is not None and record.status != "failed"
        finished = record is not None and record.status == "finished"
        if ended and not (finished and keep == "best_and_last"):
            last.append(path)
    for path in (*halves, *last):
        with contextlib.suppress(OSError):
            removed += path.stat().st_size
            path.unlink()
    for path in folder.glob("checkpoints/*"):
        with contextlib.suppress(OSError):  # only empty ones go
            path.rmdir()
    if not math.isclose(removed, 0.0):
        logger.info("%s of unfinished files of earlier runs were removed", size(removed))
    return removed
