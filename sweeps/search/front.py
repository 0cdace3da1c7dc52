"""Choosing among configurations by several objectives: the non-dominated ones, and one of them.

All values are signed so that higher is better. With a single objective the front is its best
value, the earliest of equals.

Which of the non-dominated configurations counts as the best of its method is a rule of the study:

* ``knee`` (default): every objective is scaled to [0, 1] over the front; the configuration that is
  nearest, in Euclidean distance, to the point that is best in all of them;
* ``first``: the best by the first objective.

Equals are told apart by the objectives in their order, then by which came first. Further
configurations are taken so that the front is covered: each time the one that is farthest, in the
scaled objectives, from those that have been taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

__all__ = ["RULES", "Valued", "chosen", "nondominated"]

RULES = ("knee", "first")


class Valued(Protocol):
    """Something with values to compare by."""

    @property
    def number(self) -> int:
        """Its place in the search."""

    @property
    def values(self) -> tuple[float, ...]:
        """Its objectives, higher is better."""


V = TypeVar("V", bound=Valued)


def nondominated(candidates: Sequence[V]) -> list[V]:
    """Those that no other one dominates, in their order; of equal ones the first.

    One dominates another if it is at least as good in every objective and better in one.
    """
    front: list[V] = []
    for candidate in candidates:
        if any(_covers(other.values, candidate.values) for other in front):
            continue
        front = [other for other in front if not _covers(candidate.values, other.values)]
        front.append(candidate)
    return front


def _covers(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))


def chosen(front: Sequence[V], rule: str, count: int = 1) -> list[V]:
    """The configurations of a front that a study goes on with, the best first.

    Args:
        front: Non-dominated candidates.
        rule: One of :data:`RULES`.
        count: At most how many.
    """
    if not front:
        return []
    scaled = _scaled(front)
    places = range(len(front))

    def rank(place: int) -> tuple[float, ...]:
        own = front[place]
        distance = math.dist(scaled[place], [1.0] * len(own.values)) if rule == "knee" else 0.0
        # Rounded, so that the two ends of a front tie although their distances round differently.
        return (round(distance, 12), *(-value for value in own.values), own.number)

    taken = [min(places, key=rank)]
    while len(taken) < min(count, len(front)):
        rest = [place for place in places if place not in taken]

        def gap(place: int) -> float:
            return min(math.dist(scaled[place], scaled[other]) for other in taken)

        taken.append(min(rest, key=lambda place: (-round(gap(place), 12), front[place].number)))
    return [front[place] for place in taken]


def _scaled(front: Sequence[V]) -> list[tuple[float, ...]]:
    """The values of a front, each objective from 0 (worst of the front) to 1."""
    columns = list(zip(*(candidate.values for candidate in front), strict=True))
    ranges = [(min(column), max(column)) for column in columns]
    return [
        tuple(
            (value - low) / (high - low) if high > low else 1.0
            for value, (low, high) in zip(candidate.values, ranges, strict=True)
        )
        for candidate in front
    ]
