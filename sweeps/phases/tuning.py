"""Tuning one method: Optuna asks, trials answer, the best configuration is chosen on validation."""

from __future__ import annotations

import json
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeps.asks import AskLog
from sweeps.identity import derived_seed
from sweeps.ledger import Record
from sweeps.objective import objective
from sweeps.phases.units import Blocked, Unit
from sweeps.samplers import make_sampler
from sweeps.spaces import Configuration, Space
from sweeps.study import Sampler
from sweeps.trials import Trial

if TYPE_CHECKING:
    import optuna

__all__ = ["Attempt", "Tuning"]

logger = logging.getLogger("sweeps")
_ATTEMPTS_AT_A_NEW_POINT = 10


@dataclass
class Attempt:
    """One configuration of a search.

    Attributes:
        number: Its place in the search.
        point: Its point of the space.
        configuration: Its settings.
        trials: Its trials, one per seed, that have not been given out.
        size: How many trials it has.
        optuna_number: Its number in the Optuna study; ``None`` where Optuna is not asked.
        results: The records of those that ended.
        value: Mean of the objective over the seeds; NaN unless all of them finished.
    """

    number: int
    point: Mapping[str, Any]
    configuration: Configuration
    trials: deque[Trial]
    size: int
    optuna_number: int | None
    results: list[tuple[Trial, Record]] = field(default_factory=list)
    value: float = math.nan

    @property
    def done(self) -> bool:
        """Whether all its trials have ended."""
        return len(self.results) == self.size

    def finished_records(self) -> list[Record]:
        """The records of its trials that finished with a finite objective, ordered by seed."""
        results = sorted(self.results, key=lambda result: result[0].seed)
        return [
            record
            for _, record in results
            if record.status == "finished" and math.isfinite(objective(record))
        ]


class Tuning(Unit):
    """The search of one method.

    The points that the search has asked for so far (:class:`sweeps.asks.AskLog`) come first, then
    new ones. The first point is the method's defaults as far as the space holds them. A space with
    no more points than the budget is gone through once in full. The objective is averaged over the
    seeds of a configuration before the sampler is told; a configuration of which any trial
    diverged or failed is told as failed and is never the best.

    Args:
        phase: The phase it belongs to.
        variant: Whose search it is.
        space: What is searched.
        trials: The budget in configurations.
        seeds: How many seeds each is trained with.
        sampler: How points are drawn.
        seed: The study's seed.
        start: Opens the search once what it depends on is there: returns its log and the maker of
            a configuration's trials, or ``None`` to wait.
        extend: Whether to ask for new points now; if not, only those asked before are known.
    """

    def __init__(
        self,
        phase: str,
        variant: str,
        space: Space,
        *,
        trials: int,
        seeds: int,
        sampler: Sampler,
        seed: int,
        start: Callable[[], tuple[AskLog, Callable[[Configuration], Sequence[Trial]]] | None],
        extend: Callable[[], bool],
    ) -> None:
        size = space.size
        self.budget = trials if size is None else min(trials, size)
        super().__init__(phase, variant, self.budget * seeds)
        self.space = space
        self.attempts: list[Attempt] = []
        self._exhaustive = size is not None and size <= trials
        self._sampler = sampler
        self._seed = seed
        self._start = start
        self._extend = extend
        self._log: AskLog | None = None
        self._make: Callable[[Configuration], Sequence[Trial]] | None = None
        self._known: dict[int, dict[str, Any]] = {}
        self._study: optuna.Study | None = None
        self._by_trial: dict[str, list[Attempt]] = {}
        self._waiting: deque[Attempt] = deque()
        self._open = 0
        self._leader: Attempt | None = None

    # ------------------------------------------------------------------ as a unit

    @property
    def eager(self) -> bool:
        """A sampler that learns does best with one configuration at a time."""
        return self._exhaustive or not self._open or bool(self._waiting)

    def _next(self) -> Trial | None:
        if not self._waiting and not self._ask():
            return None
        attempt = self._waiting[0]
        trial = attempt.trials.popleft()
        if not attempt.trials:
            self._waiting.popleft()
        return trial

    def _put_back(self, trial: Trial) -> None:
        attempt = self._by_trial[trial.trial_id][-1]
        if not attempt.trials:
            self._waiting.appendleft(attempt)
        attempt.trials.appendleft(trial)

    def _told(self, trial: Trial, record: Record) -> None:
        attempt = next(
            attempt
            for attempt in self._by_trial[trial.trial_id]
            if all(known.trial_id != trial.trial_id for known, _ in attempt.results)
        )
        attempt.results.append((trial, record))
        if attempt.done:
            self._settle(attempt)

    # ------------------------------------------------------------------ asking and telling

    def _ask(self) -> bool:
        """Adds a configuration to those that wait; ``False`` if there is none at the moment."""
        if len(self.attempts) >= self.budget:
            return False
        if self._make is None:
            started = self._start()
            if started is None:
                return False
            self._log, self._make = started
            self._known = self._points()
        number = len(self.attempts)
        point = self._known.get(number)
        if point is None and not self._extend():
            return False
        if point is None:
            point, optuna_number = self._new_point(number)
            if self._log is not None:
                self._log.append(number, point)
        else:
            optuna_number = self._enqueue(point)
        configuration = self.space.configuration(point)
        trials = deque(self._make(configuration))
        attempt = Attempt(number, point, configuration, trials, len(trials), optuna_number)
        self.attempts.append(attempt)
        self._waiting.append(attempt)
        self._open += 1
        for trial in trials:
            self._by_trial.setdefault(trial.trial_id, []).append(attempt)
        return True

    def _points(self) -> dict[int, dict[str, Any]]:
        if self._exhaustive:
            return dict(enumerate(dict(point) for point in self.space.grid()))
        if self._log is None:
            return {}
        names = {dimension.name for dimension in self.space.dimensions()}
        return {number: point for number, point in self._log.load().items() if set(point) == names}

    def _optuna(self) -> optuna.Study:
        if self._study is None:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            self._study = optuna.create_study(study_name=self.variant, direction="maximize")
        return self._study

    def _enqueue(self, point: Mapping[str, Any]) -> int | None:
        """Lets Optuna know of a point without asking the sampler; returns Optuna's number."""
        if self._exhaustive:
            return None
        study = self._optuna()
        study.enqueue_trial(dict(point))
        return study.ask(self.space.distributions()).number

    def _new_point(self, number: int) -> tuple[dict[str, Any], int | None]:
        """Asks the sampler, and asks again if it repeats a point of a finite space."""
        study = self._optuna()
        distributions = self.space.distributions()
        seen: set[str] = set()
        if self.space.size is not None:
            seen |= {_key(attempt.point) for attempt in self.attempts}
            seen |= {_key(point) for point in self._known.values()}
        for attempt in range(_ATTEMPTS_AT_A_NEW_POINT):
            seed = derived_seed(self._seed, self.variant, number, attempt)
            study.sampler = make_sampler(self._sampler.name, seed, self._sampler.startup_trials)
            if number == 0 and attempt == 0 and self.space.start():
                study.enqueue_trial(self.space.start())
            trial = study.ask(distributions)
            if _key(trial.params) not in seen:
                return dict(trial.params), trial.number
            # Failed trials teach a sampler nothing, and keep Optuna's numbers apart from ours.
            self._fail(trial.number)
        point = self._unseen(seen, derived_seed(self._seed, self.variant, number))
        return point, self._enqueue(point)

    def _unseen(self, seen: set[str], seed: int) -> dict[str, Any]:
        generator = random.Random(seed)
        dimensions = self.space.dimensions()
        for _ in range(1000):
            point = {d.name: generator.choice(d.values()) for d in dimensions}
            if _key(point) not in seen:
                return dict(point)
        return dict(next(point for point in self.space.grid() if _key(point) not in seen))

    def _fail(self, optuna_number: int) -> None:
        from optuna.trial import TrialState

        self._optuna().tell(optuna_number, state=TrialState.FAIL)

    def _settle(self, attempt: Attempt) -> None:
        """Averages the seeds of a configuration and tells the sampler."""
        self._open -= 1
        results = sorted(attempt.results, key=lambda result: result[0].seed)
        finished = all(record.status == "finished" for _, record in results)
        if finished:
            values = [objective(record) for _, record in results]
            attempt.value = math.fsum(values) / len(values)
        if math.isfinite(attempt.value):
            self._leader = max(
                (attempt, self._leader or attempt), key=lambda a: (a.value, -a.number)
            )
        if attempt.optuna_number is None:
            return
        if math.isfinite(attempt.value):
            self._optuna().tell(attempt.optuna_number, attempt.value)
        else:
            self._fail(attempt.optuna_number)

    # ------------------------------------------------------------------ the answer

    @property
    def leader(self) -> Attempt | None:
        """The best configuration so far, the earliest of equals; ``None`` if none has finished."""
        return self._leader

    def best(self) -> Attempt | None:
        """The best configuration; ``None`` while the search goes on.

        Raises:
            Blocked: If no configuration finished.
        """
        if self.blocked is not None:
            raise Blocked(self.blocked)
        if not self.done:
            return None
        if self._leader is None:
            raise Blocked(
                f"no configuration of {self.variant} finished with all its seeds and a finite "
                "objective"
            )
        return self._leader

    def best_finished(self) -> Attempt | None:
        """The best configuration; if none has finished in full, the best by what has finished."""
        if self._leader is not None:
            return self._leader

        def mean(attempt: Attempt) -> float:
            values = [objective(record) for record in attempt.finished_records()]
            return math.fsum(values) / len(values)

        return max(
            (attempt for attempt in self.attempts if attempt.finished_records()),
            key=lambda attempt: (mean(attempt), -attempt.number),
            default=None,
        )


def _key(point: Mapping[str, Any]) -> str:
    return json.dumps(dict(point), sort_keys=True)
