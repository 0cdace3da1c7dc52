"""What a study says of a search, and the configurations that the search tries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sweeps.definition.spaces import Configuration
from sweeps.definition.study import Budget, Sampler
from sweeps.folder.ledger import Record
from sweeps.planning.trials import Trial
from sweeps.search.proposals import Asked
from sweeps.search.pruning import Pruner
from sweeps.search.selection import objective

__all__ = ["Attempt", "Goal", "SearchPlan"]


class Goal(Protocol):
    """A number that a search optimises."""

    @property
    def name(self) -> str:
        """What it is called."""

    def signed(self, trial: Trial, record: Record) -> float:
        """The number of a trial that ended, higher is better."""


@dataclass(frozen=True)
class SearchPlan:
    """What a study says of a search.

    Attributes:
        budget: How many configurations with how many seeds, or for how many seconds.
        sampler: How points are drawn.
        seed: The study's seed.
        goals: What is optimised; the first is what ties are broken by.
        choose: Which of the non-dominated configurations is the best (:mod:`sweeps.search.front`).
        given: Parts of points to begin with.
        pruner: Decides which trials are stopped early; ``None`` if none are.
    """

    budget: Budget
    sampler: Sampler
    seed: int
    goals: Sequence[Goal]
    choose: str = "knee"
    given: Sequence[Mapping[str, Any]] = ()
    pruner: Pruner | None = None


@dataclass
class Attempt:
    """One configuration of a search.

    Attributes:
        number: Its place in the search.
        point: Its point of the space.
        configuration: Its settings.
        trials: Its trials, one per seed, that have not been given out.
        size: How many trials it has.
        asked: What Optuna calls it; ``None`` where Optuna is not asked.
        judged: The trial that early stopping judges it by, that of its first seed.
        results: The records of those that ended.
        skipped: How many need not run, because another one was stopped early.
        value: Mean of the selection measure over the seeds; NaN unless all of them finished.
        values: Means of the objectives over the seeds, higher is better; NaN likewise.
    """

    number: int
    point: Mapping[str, Any]
    configuration: Configuration
    trials: list[Trial]
    size: int
    asked: Asked
    judged: str
    results: list[tuple[Trial, Record]] = field(default_factory=list)
    skipped: int = 0
    value: float = math.nan
    values: tuple[float, ...] = ()

    @property
    def done(self) -> bool:
        """Whether all its trials that must run have ended."""
        return len(self.results) + self.skipped == self.size

    @property
    def stopped(self) -> bool:
        """Whether one of its trials was stopped early."""
        return any(record.status == "pruned" for _, record in self.results)

    def by_seed(self) -> list[tuple[Trial, Record]]:
        """Its trials that ended, ordered by seed."""
        return sorted(self.results, key=lambda result: result[0].seed)

    def finished_records(self) -> list[Record]:
        """The records of its trials that finished with a finite objective, ordered by seed."""
        return [
            record
            for _, record in self.by_seed()
            if record.status == "finished" and math.isfinite(objective(record))
        ]
