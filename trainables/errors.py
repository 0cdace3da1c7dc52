"""Errors of training, on top of :mod:`mtl_methods.errors`."""

from __future__ import annotations

from mtl_methods.errors import FairsweepError

__all__ = [
    "CheckpointNotKeptError",
    "CorruptFileError",
    "DataFormatError",
    "DataNotFoundError",
    "DataObtainError",
    "DivergedError",
    "MissingExtraError",
    "ReferenceMetricError",
]


class DivergedError(FairsweepError, FloatingPointError):
    """Training produced a number that is not finite, and cannot go on.

    Attributes:
        kind: What was not finite: ``"loss"``, ``"gradient"``, ``"parameter"`` or
            ``"validation"``.
        task: The task it belongs to, ``None`` where it belongs to none or that cannot be told.
        epoch: The epoch, counted from 1.
        step: The step within the epoch, counted from 1; the epoch's last for what shows only
            after its steps, in a parameter or on the validation split.
    """

    def __init__(
        self, kind: str, reason: str, *, task: str | None, epoch: int, step: int | None
    ) -> None:
        self.kind = kind
        self.reason = reason
        self.task = task
        self.epoch = epoch
        self.step = step
        place = f"epoch {epoch}" if step is None else f"epoch {epoch}, step {step}"
        super().__init__(f"training diverged at {place}: {reason}")

    def __reduce__(self) -> tuple[object, ...]:
        return _make_diverged, (self.kind, self.reason, self.task, self.epoch, self.step)


class CorruptFileError(FairsweepError):
    """A file's content is not what its checksum says, or cannot be read."""


class CheckpointNotKeptError(FairsweepError):
    """The parameters of a trial's best epoch were not kept when it ended."""


class DataNotFoundError(FairsweepError):
    """A data set is not there; the message says where it was looked for and how to get it."""


class DataObtainError(FairsweepError):
    """A data set could not be obtained by any of its routes; nothing was left behind."""


class DataFormatError(FairsweepError, ValueError):
    """A data file is not in its format; the message names file, position and reason."""


class MissingExtraError(FairsweepError, ImportError):
    """An optional package is not installed; the message names the extra that installs it."""


class ReferenceMetricError(FairsweepError, ValueError):
    """A single-task reference cannot serve: a metric is missing, zero or not finite."""


def _make_diverged(
    kind: str, reason: str, task: str | None, epoch: int, step: int | None
) -> DivergedError:
    return DivergedError(kind, reason, task=task, epoch=epoch, step=step)
