"""Early stopping of the trials of a search, by the measure that epochs are chosen by.

A rule compares configurations of the same method, never those of two methods, and judges every
method alike. With several seeds a configuration is judged by the trial of its first seed, which is
compared with the first seeds of the others: as many configurations survive as with one seed, and
the best of those that have come to an epoch always does. No other seed is compared or stopped. A
rule looks at the best epoch so far, on validation; with several objectives too, since it takes one
number. Only searches are stopped early: what is compared in tables (replicates, fixed weights,
sweeps) and what others are measured against (single-task models) always trains to its end.

=============  ====================================================================================
``none``       nothing is stopped early
``asha``       levels at ``grace_epochs`` times the powers of ``reduction``: a trial goes on if it
               is among the best of every ``reduction`` that have come to the level so far
``hyperband``  several such ladders that begin at different levels; configurations are dealt out to
               them so that each ladder costs about the same
``median``     from ``grace_epochs`` on, a trial goes on if it is no worse than the median of at
               least ``min_trials`` others after as many epochs
=============  ====================================================================================

With one trial at a time all decisions are determined by the study; with several they depend on
which of them is first at a level.

Sources: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020 (asha,
asynchronous hyperband); Li et al., "Hyperband", JMLR 18 (2018), algorithm 1; Golovin et al.,
"Google Vizier", KDD 2017, section 3.5.1 (median; here of the best so far instead of averages).
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.definition.study import Scheduler
from trainables.spec import canonical_json

__all__ = ["SCHEDULERS", "Pruner"]


@dataclass
class _Course:
    """How good the judged trial of a configuration was after each epoch that is known of."""

    bracket: int
    best: dict[int, float] = field(default_factory=dict)


class Pruner:
    """Decides which configurations of one method are stopped.

    Args:
        scheduler: The rule and its settings.
        epochs: Epochs of a whole trial.

    Attributes:
        rule: The rule and its settings, as records of stopped trials name them.
    """

    def __init__(self, scheduler: Scheduler, epochs: int) -> None:
        self._scheduler = scheduler
        self._epochs = epochs
        self.rule = canonical_json(scheduler.model_dump())
        self._rule = SCHEDULERS[scheduler.name]
        self._courses: dict[int, _Course] = {}
        self._brackets: list[int] = []

    def reported(self, number: int, epoch: int, best: float) -> str | None:
        """Takes note of an epoch of a first seed; returns why to stop it, if it should be.

        Args:
            number: The place of its configuration in the search.
            epoch: How many epochs it has completed.
            best: The best selection measure so far, higher is better.
        """
        course = self._course(number)
        course.best[epoch] = best
        if epoch >= self._epochs:
            return None
        others = [
            other.best[epoch]
            for other in self._courses.values()
            if other is not course and other.bracket == course.bracket and epoch in other.best
        ]
        return self._rule(self._scheduler, course.bracket, epoch, best, others)

    def ended(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Takes note of a first seed that ended, in an earlier run perhaps.

        Args:
            number: The place of its configuration in the search.
            rows: The rows of its epochs, in order.
        """
        course = self._course(number)
        best = -math.inf
        for epoch, row in enumerate(rows, start=1):
            value = row.get("selection")
            best = max(best, value) if isinstance(value, int | float) else best
            if math.isfinite(best):
                course.best.setdefault(epoch, best)

    def _course(self, number: int) -> _Course:
        if number not in self._courses:
            self._courses[number] = _Course(self._bracket(number))
        return self._courses[number]

    def _bracket(self, number: int) -> int:
        """The ladder of a configuration: always the one that is furthest behind its share."""
        if self._scheduler.name != "hyperband":
            return 0
        shares = bracket_shares(self._scheduler, self._epochs)
        dealt = Counter(self._brackets)
        while len(self._brackets) <= number:
            due = len(self._brackets) + 1
            bracket = max(range(len(shares)), key=lambda b: (shares[b] * due - dealt[b], -b))
            dealt[bracket] += 1
            self._brackets.append(bracket)
        return self._brackets[number]


def bracket_shares(scheduler: Scheduler, epochs: int) -> list[float]:
    """The share of configurations that each ladder gets, the one that begins earliest first.

    Ladder b begins at ``grace_epochs * reduction^b`` and is meant for
    ``ceil((s + 1) / (s - b + 1) * reduction^(s - b))`` configurations of every round, with s the
    number of the last ladder (Hyperband, algorithm 1).
    """
    last = 0
    while scheduler.grace_epochs * scheduler.reduction ** (last + 1) < epochs:
        last += 1
    sizes = [
        math.ceil((last + 1) / (last - b + 1) * scheduler.reduction ** (last - b))
        for b in range(last + 1)
    ]
    return [size / sum(sizes) for size in sizes]


# ------------------------------------------------------------------ rules


def _none(
    scheduler: Scheduler, bracket: int, epoch: int, best: float, others: Sequence[float]
) -> str | None:
    return None


def _halving(
    scheduler: Scheduler, bracket: int, epoch: int, best: float, others: Sequence[float]
) -> str | None:
    level = scheduler.grace_epochs * scheduler.reduction**bracket
    while level < epoch:
        level *= scheduler.reduction
    if level != epoch:
        return None
    come = len(others) + 1
    places = max(1, come // scheduler.reduction)
    better = sum(other > best for other in others)
    if better < places:
        return None
    return (
        f"{scheduler.name}: {better} of the {come} configurations of its method that came to epoch "
        f"{epoch} were better, and {places} of them may go on"
    )


def _median(
    scheduler: Scheduler, bracket: int, epoch: int, best: float, others: Sequence[float]
) -> str | None:
    if epoch < scheduler.grace_epochs or len(others) < scheduler.min_trials:
        return None
    if best >= statistics.median(others):
        return None
    return (
        f"median: worse after epoch {epoch} than the median of {len(others)} other "
        "configurations of its method"
    )


Rule = Callable[[Scheduler, int, int, float, Sequence[float]], str | None]

SCHEDULERS: dict[str, Rule] = {
    "none": _none,
    "asha": _halving,
    "hyperband": _halving,
    "median": _median,
}
"""Every rule by its name: ``rule(settings, ladder, epoch, best, others)`` says why to stop."""
