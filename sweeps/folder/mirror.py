"""The mirror: the searches of a study as Optuna studies, for optuna-dashboard and Optuna's tools.

The mirror is made from the ledger and from what the searches asked for. It is never read back: the
ledger is the truth, and a mirror that is lost or damaged is made anew.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.definition.places import JOURNAL, mirror_file
from sweeps.errors import ResultsFolderError
from sweeps.folder.mirror_file import is_damaged, move_aside, remove_stale_lock
from sweeps.phases.tuning import Attempt, Tuning
from sweeps.planning.plan import Plan
from sweeps.search.objectives import Objective

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["Mirror", "mirror_prefix", "mirrored", "open_mirror", "open_or_renew"]

logger = logging.getLogger("sweeps")

_NUMBER = "number"
_EVERY_SECONDS = 5.0


def open_mirror(mirror: str, results: Path) -> BaseStorage:
    """Opens the storage of a mirror; a file is made if it is not there.

    Args:
        mirror: What the study says: ``"journal"`` or a URL (:mod:`sweeps.definition.places`).
        results: The results folder.

    Raises:
        ResultsFolderError: If it cannot be opened.
    """
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = mirror_file(mirror, results)
    try:
        if mirror == JOURNAL:
            return JournalStorage(JournalFileBackend(str(path)))
        return RDBStorage(mirror if path is None else f"sqlite:///{path}")
    except Exception as error:  # whatever Optuna, SQLAlchemy or a driver says
        advice = (
            "remove it, it is made anew"
            if path
            else "see that the server runs and that Python has its driver (psycopg, pymysql)"
        )
        reason = str(error).strip().splitlines()
        raise ResultsFolderError(
            f"the mirror {path or mirror} cannot be opened; {advice} "
            f"({reason[0] if reason else type(error).__name__})"
        ) from error


def open_or_renew(mirror: str, results: Path) -> BaseStorage:
    """Opens the storage of a mirror for who holds the results folder.

    A file of ours that is damaged is moved aside, with a warning, and made anew.

    Args:
        mirror: What the study says.
        results: The results folder.

    Raises:
        ResultsFolderError: If it cannot be opened, or not be moved aside.
    """
    path = mirror_file(mirror, results)
    if path is not None:
        try:
            remove_stale_lock(path)
            if is_damaged(path, journal=mirror == JOURNAL):
                aside = move_aside(path)
                logger.warning(
                    "the mirror %s is damaged; it was moved to %s and is made anew from the ledger",
                    path,
                    aside.name,
                )
        except OSError as error:
            raise ResultsFolderError(
                f"the mirror {path} cannot be looked at ({error.strerror or error}); remove it, "
                "it is made anew"
            ) from error
    return open_mirror(mirror, results)


class Mirror:
    """Optuna studies that follow a plan: one for each search.

    Args:
        storage: Where they are.
        prefix: What their names begin with.
    """

    def __init__(self, storage: BaseStorage, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix
        self._studies: dict[tuple[str, str], tuple[optuna.Study, set[int]]] = {}

    def update(self, plan: Plan) -> int:
        """Adds the configurations that have ended since; returns how many.

        Raises:
            Exception: Whatever the storage raises.
        """
        added = 0
        for unit in list(plan.units):
            if not isinstance(unit, Tuning):
                continue
            study, known = self._study(unit)
            for attempt in list(unit.attempts):
                if attempt.done and attempt.number not in known:
                    study.add_trial(_frozen(unit, attempt))
                    known.add(attempt.number)
                    added += 1
        return added

    def _study(self, tuning: Tuning) -> tuple[optuna.Study, set[int]]:
        key = (tuning.phase, tuning.variant)
        if key not in self._studies:
            import optuna

            goals = tuning.goals
            study = optuna.create_study(
                storage=self._storage,
                study_name=f"{self._prefix} {tuning.phase} {tuning.variant}",
                directions=["maximize" if _is_maximised(goal) else "minimize" for goal in goals],
                load_if_exists=True,
            )
            names = [goal.name for goal in goals]
            if study.metric_names != names:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names(names)
            known = {trial.user_attrs.get(_NUMBER) for trial in study.get_trials(deepcopy=False)}
            self._studies[key] = (study, {n for n in known if isinstance(n, int)})
        return self._studies[key]


def _is_maximised(goal: Any) -> bool:
    return goal.higher_is_better if isinstance(goal, Objective) else True


def _frozen(tuning: Tuning, attempt: Attempt) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    statuses = sorted({record.status for _, record in attempt.results})
    values: list[float] | None = [
        value if _is_maximised(goal) else -value
        for goal, value in zip(tuning.goals, attempt.values, strict=False)
    ]
    if values and all(map(math.isfinite, values)):
        state = TrialState.COMPLETE
    else:
        pruned = "pruned" in statuses and set(statuses) <= {"finished", "pruned"}
        state, values = TrialState.PRUNED if pruned else TrialState.FAIL, None
    distributions = tuning.space.distributions()
    trial = create_trial(
        state=state,
        values=values,
        params={name: attempt.point[name] for name in distributions},
        distributions=distributions,
        user_attrs={
            _NUMBER: attempt.number,
            "trials": [trial.trial_id for trial, _ in attempt.by_seed()],
            "statuses": statuses,
            "seconds": math.fsum(record.seconds for _, record in attempt.results),
        },
    )
    trial.datetime_start = _moment(attempt, "started", min) or trial.datetime_start
    trial.datetime_complete = _moment(attempt, "ended", max) or trial.datetime_complete
    return trial


def _moment(attempt: Attempt, key: str, choose: Any) -> datetime | None:
    """When the first trial began or the last one ended, in local time as Optuna has it."""
    moments = []
    for _, record in attempt.results:
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(str(record.summary.get(key)))
            moments.append(moment.astimezone().replace(tzinfo=None))
    found: datetime | None = choose(moments) if moments else None
    return found


@contextlib.contextmanager
def mirrored(
    plan: Plan, mirror: str | None, results: Path, patience: Callable[[], float]
) -> Iterator[None]:
    """Keeps the mirror of a study up to date while the context lasts, from a thread of its own.

    A storage that fails is said once and tried again; the sweep goes on. A file of ours that is
    damaged is made anew, once.

    Args:
        plan: The plan.
        mirror: What the study says; nothing is done without it.
        results: The results folder.
        patience: For how many seconds to wait for the storage at the end.

    Raises:
        ResultsFolderError: If the mirror cannot be opened at all.
    """
    if mirror is None:
        yield
        return
    following = [Mirror(open_or_renew(mirror, results), mirror_prefix(plan))]
    path = mirror_file(mirror, results)
    over = threading.Event()
    said: list[str] = []

    def renewed() -> bool:
        """Whether a damaged file was made anew; the first time only."""
        if path is None or len(following) > 1 or not is_damaged(path, journal=mirror == JOURNAL):
            return False
        following.append(Mirror(open_or_renew(mirror, results), mirror_prefix(plan)))
        return True

    def attempt() -> None:
        try:
            following[-1].update(plan)
        except Exception:
            if not renewed():
                raise
            following[-1].update(plan)

    def update() -> None:
        try:
            attempt()
        except Exception as error:  # noqa: BLE001  (whatever Optuna, SQLAlchemy or a driver says)
            if not said:
                said.append(str(error))
                logger.warning("the mirror cannot be written, the sweep goes on: %s", _brief(error))

    def follow() -> None:
        while not over.wait(_EVERY_SECONDS):
            update()
        update()

    thread = threading.Thread(target=follow, name="mirror", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(patience())


def mirror_prefix(plan: Plan) -> str:
    """What the names of the studies of a plan begin with; a changed study has others."""
    return f"{plan.resolved.study.name} {plan.resolved.study_hash[:6]}"


def _brief(error: BaseException) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
