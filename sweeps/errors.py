"""Errors of studies and results folders: one sentence each, shown to the user as they are."""

from __future__ import annotations

from mtl_methods.errors import ConfigurationError, FairsweepError

__all__ = ["DiskFullError", "ResultsFolderError", "RunError", "StudyError", "SweepFailedError"]


class StudyError(ConfigurationError):
    """A study file is not valid; the message names the place in the file and what is valid."""


class ResultsFolderError(FairsweepError):
    """A results folder cannot be used for this study."""


class RunError(FairsweepError):
    """A sweep cannot be started."""


class SweepFailedError(RunError):
    """A sweep ended before all its trials had; what has ended is kept."""


class DiskFullError(SweepFailedError):
    """The disk of the results folder is full; the message says what to do."""
