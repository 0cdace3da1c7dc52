"""Tuning one method: a sampler asks, trials answer, the best is chosen on validation."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sweeps.definition.spaces import Configuration, Space
from sweeps.folder.ledger import Record
from sweeps.phases.units import Blocked, Unit
from sweeps.planning.trials import Trial
from sweeps.search.asks import AskLog
from sweeps.search.attempts import Attempt, Goal, SearchPlan
from sweeps.search.designs import known_points
from sweeps.search.front import chosen, nondominated
from sweeps.search.proposals import Asked, Proposals
from sweeps.search.samplers import SAMPLERS
from sweeps.search.selection import objective

__all__ = ["Attempt", "Goal", "SearchPlan", "Tuning"]

logger = logging.getLogger("sweeps")
_MOST_IN_VAIN = 20


class Tuning(Unit):
    """The search of one method.

    The points that the search has asked for so far (:class:`sweeps.search.asks.AskLog`) come first,
    then new ones. The first points are those that the study gives, then the method's defaults as
    far as the space holds them. A space with no more points than the budget is gone through in
    full.
    Objectives are averaged over the seeds of a configuration before the sampler is told; a
    configuration of which any trial diverged or failed is told as failed, one of which any was
    stopped early as pruned, and neither is ever the best. Early stopping judges a configuration by
    the trial of its first seed. Once that was stopped, those of the other seeds that have not begun
    need not run; those that have go on to their end.

    With a budget in seconds no new point is asked for once the trials that have ended took as long
    together, nor, without a number of trials, after many configurations in a row of which nothing
    finished; what was asked for before is trained to its end.

    Args:
        phase: The phase it belongs to.
        variant: Whose search it is.
        space: What is searched.
        plan: What the study says of the search.
        start: Opens the search once what it depends on is there: returns its log and the maker of
            a configuration's trials, or ``None`` to wait.
        extend: Whether to ask for new points now; if not, only those asked before are known.
    """

    def __init__(
        self,
        phase: str,
        variant: str,
        space: Space,
        plan: SearchPlan,
        *,
        start: Callable[[], tuple[AskLog, Callable[[Configuration], Sequence[Trial]]] | None],
        extend: Callable[[], bool],
    ) -> None:
        budget = plan.budget
        points = known_points(space, plan.sampler, budget.trials, plan.seed)
        self.budget = budget.trials if points is None else len(points)
        self.seeds = budget.seeds
        self.spent = 0.0
        super().__init__(phase, variant, (self.budget or 1) * self.seeds)
        self.space = space
        self.attempts: list[Attempt] = []
        self.proposals = Proposals(
            variant,
            space,
            plan.sampler,
            plan.seed,
            given=plan.given,
            objectives=len(plan.goals),
        )
        self._plan = plan
        self._points = points
        self._start = start
        self._extend = extend
        self._log: AskLog | None = None
        self._make: Callable[[Configuration], Sequence[Trial]] | None = None
        self._known: dict[int, dict[str, Any]] = {}
        self._by_trial: dict[str, list[Attempt]] = {}
        self._waiting: deque[Attempt] = deque()
        self._open = 0
        self._in_vain = 0
        self._front: list[Attempt] = []

    # ------------------------------------------------------------------ as a unit

    @property
    def eager(self) -> bool:
        """A sampler that learns does best with one configuration at a time."""
        learns = self._points is None and SAMPLERS[self._plan.sampler.name].learns
        return not learns or not self._open or bool(self._waiting)

    @property
    def prunable(self) -> bool:
        """Whether its trials may have been stopped early."""
        return self._plan.pruner is not None

    @property
    def rule(self) -> str:
        """By which rule they may have been; empty if they may not."""
        return "" if self._plan.pruner is None else self._plan.pruner.rule

    @property
    def closed(self) -> bool:
        """Whether no new point is asked for any more."""
        seconds = self._plan.budget.seconds
        asked = len(self.attempts)
        if self.budget is not None and asked >= self.budget:
            return True
        used_up = seconds is not None and self.spent >= seconds
        return (used_up or self._in_vain >= _MOST_IN_VAIN) and asked not in self._known

    def seconds_left(self, each: float) -> float:
        """Estimated seconds: those of its trials, or of its budget with the trial that ends it."""
        planned, seconds = super().seconds_left(each), self._plan.budget.seconds
        if seconds is None or self.closed:
            return planned
        left = max(0.0, seconds - self.spent) + each
        return left if self.budget is None else min(left, planned)

    def _next(self) -> Trial | None:
        if not self._waiting and not self._ask():
            return None
        attempt = self._waiting[0]
        trial = attempt.trials.pop(0)
        if not attempt.trials:
            self._waiting.popleft()
        return trial

    def _put_back(self, trial: Trial) -> None:
        attempt = self._by_trial[trial.trial_id][-1]
        if not attempt.trials:
            self._waiting.appendleft(attempt)
        attempt.trials.insert(0, trial)

    def _told(self, trial: Trial, record: Record) -> None:
        attempt = next(
            attempt
            for attempt in self._by_trial[trial.trial_id]
            if all(known.trial_id != trial.trial_id for known, _ in attempt.results)
        )
        attempt.results.append((trial, record))
        self.spent += record.seconds
        if self._plan.pruner is not None and trial.trial_id == attempt.judged:
            self._plan.pruner.ended(attempt.number, record.epochs())
        if attempt.done:
            self._settle(attempt)
        self._count()

    def unwanted(self, trial: Trial) -> str | None:
        """That another seed of the configuration was stopped early."""
        attempt = self._by_trial[trial.trial_id][-1]
        if self._plan.pruner is None or not attempt.stopped:
            return None
        return "another seed of its configuration was stopped early"

    def _skipped(self, trial: Trial) -> None:
        attempt = self._by_trial[trial.trial_id][-1]
        attempt.skipped += 1
        if attempt.done:
            self._settle(attempt)
        self._count()

    def reported(self, trial: Trial, epoch: int, best: float) -> str | None:
        """Why a trial should be stopped after an epoch, if it should."""
        attempt = self._by_trial[trial.trial_id][-1]
        if self._plan.pruner is None or trial.trial_id != attempt.judged:
            return None
        return self._plan.pruner.reported(attempt.number, epoch, best)

    def _count(self) -> None:
        """How many trials there are, where the budget alone does not say."""
        if self._plan.budget.seconds is not None:
            asked = len(self.attempts)
            if self.closed:
                self.planned = asked * self.seeds - self.skipped
            elif self.budget is None:
                self.planned = (asked + 1) * self.seeds - self.skipped

    # ------------------------------------------------------------------ asking and telling

    def _ask(self) -> bool:
        """Adds a configuration to those that wait; ``False`` if there is none at the moment."""
        if self.closed:
            return False
        if self._make is None:
            started = self._start()
            if started is None:
                return False
            log, self._make = started
            self._open_log(log)
        number = len(self.attempts)
        new = number not in self._known and self._log is not None
        if new and not self._extend():
            return False
        asked: Asked = None
        point: Mapping[str, Any]
        if self._points is not None:
            point = self._points[number]
        elif new:
            point, asked = self.proposals.propose(number)
        else:
            point = self._known[number]
            asked = self.proposals.repeat(number, point)
        if new and self._log is not None:
            self._log.append(number, point)
        configuration = self.space.configuration(point)
        trials = list(self._make(configuration))
        judged = trials[0].trial_id
        attempt = Attempt(number, point, configuration, trials, len(trials), asked, judged)
        self.attempts.append(attempt)
        self._waiting.append(attempt)
        self._open += 1
        for trial in trials:
            self._by_trial.setdefault(trial.trial_id, []).append(attempt)
        self._count()
        return True

    def _open_log(self, log: AskLog) -> None:
        """Takes up what an earlier run asked for.

        Points that are known beforehand are in no log, unless time decides how many are tried.
        """
        if self._points is not None and self._plan.budget.seconds is None:
            return
        names = {dimension.name for dimension in self.space.dimensions()}
        self._log = log
        self._known = {number: p for number, p in log.load().items() if set(p) == names}
        self.proposals.reserve(self._known.values())

    def _settle(self, attempt: Attempt) -> None:
        """Averages the seeds of a configuration and tells the sampler."""
        self._open -= 1
        results = attempt.by_seed()
        statuses = {record.status for _, record in results}
        # Trials that fail at once would never use up a budget in seconds.
        bounded = self._plan.budget.trials is not None
        self._in_vain = 0 if bounded or statuses & {"finished", "pruned"} else self._in_vain + 1
        if statuses == {"finished"} and not attempt.skipped:
            attempt.value = _mean([objective(record) for _, record in results])
            attempt.values = tuple(
                _mean([goal.signed(trial, record) for trial, record in results])
                for goal in self._plan.goals
            )
        if attempt.values and all(map(math.isfinite, attempt.values)):
            candidates = sorted([*self._front, attempt], key=lambda known: known.number)
            self._front = nondominated(candidates)
            self.proposals.tell(attempt.asked, attempt.values)
        elif "pruned" in statuses and statuses <= {"finished", "pruned"}:
            pruned = [record for _, record in results if record.status == "pruned"]
            epochs = min(int(record.summary["completed_epochs"]) for record in pruned)
            value = _mean([objective(record) for record in pruned])
            self.proposals.prune(attempt.asked, value, epochs)
        else:
            self.proposals.fail(attempt.asked)

    # ------------------------------------------------------------------ the answer

    @property
    def leader(self) -> Attempt | None:
        """The best configuration so far, the earliest of equals; ``None`` if none has finished."""
        return next(iter(chosen(self._front, self._plan.choose)), None)

    @property
    def front(self) -> list[Attempt]:
        """The configurations so far that no other one dominates, in the order of asking."""
        return list(self._front)

    @property
    def goals(self) -> Sequence[Goal]:
        """What is optimised."""
        return self._plan.goals

    def best(self) -> Attempt | None:
        """The best configuration; ``None`` while the search goes on.

        Raises:
            Blocked: If no configuration finished.
        """
        attempts = self.several_best(1)
        return None if attempts is None else attempts[0]

    def several_best(self, count: int) -> list[Attempt] | None:
        """The best configuration, then others of the front; ``None`` while the search goes on.

        Args:
            count: At most how many.

        Raises:
            Blocked: If no configuration finished.
        """
        if self.blocked is not None:
            raise Blocked(self.blocked)
        if not self.done:
            return None
        if not self._front:
            raise Blocked(
                f"no configuration of {self.variant} finished with all its seeds and a finite "
                "objective"
            )
        return chosen(self._front, self._plan.choose, count)

    def best_finished(self) -> Attempt | None:
        """The best configuration; if none has finished in full, the best by what has finished."""
        if self.leader is not None:
            return self.leader

        def mean(attempt: Attempt) -> float:
            return _mean([objective(record) for record in attempt.finished_records()])

        return max(
            (attempt for attempt in self.attempts if attempt.finished_records()),
            key=lambda attempt: (mean(attempt), -attempt.number),
            default=None,
        )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
