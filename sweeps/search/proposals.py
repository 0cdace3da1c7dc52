"""Asking a sampler for the next point of a search, and telling it what came of the points.

Optuna's study is in memory and disposable: what was asked for is in the log of the search, what
came of it in the ledger, and both are told again when a study is continued.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweeps.definition.identity import derived_seed
from sweeps.definition.spaces import Space
from sweeps.definition.study import Sampler
from sweeps.search.designs import point_key, sobol_point
from sweeps.search.samplers import SAMPLERS, make_sampler

if TYPE_CHECKING:
    import optuna

__all__ = ["Asked", "Proposals"]

_ATTEMPTS_AT_A_NEW_POINT = 10

Asked = Any
"""What Optuna calls the point; ``None`` where Optuna is not asked."""


class Proposals:
    """The points of one search, none of them twice.

    The first ones are those given, completed by the sampler where they leave something open.

    Args:
        variant: Whose search it is.
        space: What is searched.
        sampler: How points are drawn.
        seed: The study's seed.
        given: Parts of points to begin with.
        objectives: How many numbers are told of each point; all of them are maximised.
    """

    def __init__(
        self,
        variant: str,
        space: Space,
        sampler: Sampler,
        seed: int,
        *,
        given: Sequence[Mapping[str, Any]] = (),
        objectives: int = 1,
    ) -> None:
        self._variant = variant
        self._space = space
        self._sampler = sampler
        self._info = SAMPLERS[sampler.name]
        self._seed = seed
        self._given = given
        self._objectives = objectives
        self._seen: set[str] = set()
        self._study: optuna.Study | None = None
        self._sequence: list[dict[str, Any]] = []
        self._drawn = 0

    @property
    def study(self) -> optuna.Study:
        """Optuna's study of this search."""
        if self._study is None:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            directions = [optuna.study.StudyDirection.MAXIMIZE] * self._objectives
            self._study = optuna.create_study(study_name=self._variant, directions=directions)
        return self._study

    def reserve(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Notes points that must not be proposed, because an earlier run asked for them."""
        if self._info.make is not None:
            self._seen |= {point_key(point) for point in points}

    # ------------------------------------------------------------------ asking

    def repeat(self, number: int, point: Mapping[str, Any]) -> Asked:
        """Takes a point that an earlier run asked for as the number-th."""
        if self._info.make is None:
            return None
        self._seen.add(point_key(point))
        if self._info.remembers:
            self.study.sampler = make_sampler(self._sampler, self._seed_of(number, 0))
        return self._enqueue(point)

    def propose(self, number: int) -> tuple[dict[str, Any], Asked]:
        """The number-th point, and what Optuna calls it."""
        if self._info.make is None:
            return self._sequence_point(number), None
        study = self.study
        given = self._given[number] if number < len(self._given) else None
        for attempt in range(_ATTEMPTS_AT_A_NEW_POINT):
            study.sampler = make_sampler(self._sampler, self._seed_of(number, attempt))
            if given and attempt == 0:
                study.enqueue_trial(dict(given))
            asked = self._ask()
            if point_key(asked.params) not in self._seen:
                self._seen.add(point_key(asked.params))
                return dict(asked.params), asked
            # Failed trials teach a sampler nothing, and keep Optuna's numbers apart from ours.
            self.fail(asked)
        point = self._unseen(number)
        self._seen.add(point_key(point))
        return point, self._enqueue(point)

    def _seed_of(self, number: int, attempt: int) -> int:
        return derived_seed(self._seed, self._variant, number, attempt)

    def _ask(self) -> Asked:
        asked = self.study.ask(self._space.distributions())
        if self._info.remembers:
            # Optuna asks the sampler, which takes notes then, only if something is left open.
            _ = asked.relative_params
        return asked

    def _enqueue(self, point: Mapping[str, Any]) -> Asked:
        self.study.enqueue_trial(dict(point))
        return self._ask()

    def _unseen(self, number: int) -> dict[str, Any]:
        """A random point that has not been proposed, for samplers that have nothing new."""
        seed = derived_seed(self._seed, self._variant, number)
        generator = random.Random(seed)
        dimensions = self._space.dimensions()
        for _ in range(1000):
            point = {d.name: d.draw(generator) for d in dimensions}
            if point_key(point) not in self._seen:
                return dict(point)
        return dict(next(p for p in self._space.grid() if point_key(p) not in self._seen))

    def _sequence_point(self, number: int) -> dict[str, Any]:
        """The number-th of the points given, completed, and the sequence; no point twice.

        What is left out depends on the points before, never on results.
        """
        seed = derived_seed(self._seed, self._variant, "qmc")
        while len(self._sequence) <= number:
            place = len(self._sequence)
            given = self._given[place] if place < len(self._given) else {}
            for _ in range(1000):
                point = {**sobol_point(self._space, seed, self._drawn), **given}
                self._drawn += 1
                if point_key(point) not in self._seen:
                    break
            else:
                point = self._unseen(place)
            self._seen.add(point_key(point))
            self._sequence.append(point)
        return dict(self._sequence[number])

    # ------------------------------------------------------------------ telling

    def tell(self, asked: Asked, values: Sequence[float]) -> None:
        """Tells the sampler what came of a point."""
        if asked is not None:
            self.study.tell(asked.number, list(values))

    def prune(self, asked: Asked, value: float, epoch: int) -> None:
        """Tells the sampler that a point was given up.

        Args:
            asked: The point.
            value: What the trial was judged by when it was stopped.
            epoch: When.
        """
        from optuna.trial import TrialState

        if asked is None:
            return
        if self._objectives == 1:
            asked.report(value, epoch)
        self.study.tell(asked.number, state=TrialState.PRUNED)

    def fail(self, asked: Asked) -> None:
        """Tells the sampler that nothing came of a point."""
        from optuna.trial import TrialState

        if asked is not None:
            self.study.tell(asked.number, state=TrialState.FAIL)
