"""What follows a sweep without being part of it: the mirror for Optuna's tools, trackers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sweeps.folder.ledger import Record
from sweeps.folder.mirror import mirrored
from sweeps.folder.trackers import make_trackers, tracking
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial

__all__ = ["companions"]

_PATIENCE_SECONDS, _PATIENCE_OF_A_STOP = 60.0, 2.0


@contextlib.contextmanager
def companions(
    plan: Plan, results: Path, stopping: Callable[[], bool]
) -> Iterator[Callable[[Trial, Record], None]]:
    """Follows a plan while the context lasts; gives what is to be told of each trial that ends.

    What an earlier run had finished and could not pass on is passed on first.

    Args:
        plan: The plan.
        results: The results folder.
        stopping: Whether a stop was asked for, which cannot wait.

    Raises:
        MissingExtraError: If a package that the study asks for is not installed.
        ResultsFolderError: If a mirror or tracker cannot be opened.
    """
    study = plan.resolved.study
    trackers = make_trackers(study.trackers, results, study.name)

    def patience() -> float:
        return _PATIENCE_OF_A_STOP if stopping() else _PATIENCE_SECONDS

    with (
        mirrored(plan, study.mirror, results, patience),
        tracking(trackers, patience) as tell,
    ):
        for trial, record in plan.ended if trackers else ():
            tell(trial, record)
        yield tell
