"""Population-based training: linear scalarisation whose weights are found while it trains.

All members train for ``interval`` epochs; then the worst go on from the state of the best, with
other weights (:mod:`sweeps.search.population`), until all epochs are done. The course of weights of
the member that is best on validation is then trained from the start with fresh seeds: these are the
replicates that tables show, beside those of methods.

Every generation of a member is a trial of its own, identified by what it computes: a training along
the course of weights so far, up to an epoch. It takes up the state its predecessor left, which
spares the epochs before; where that is lost, it computes them again, with the same result.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections import deque
from pathlib import Path

from mtl_methods.loss_weighting.ls_course import course_text
from sweeps.definition.identity import derived_seed
from sweeps.definition.resolved import Candidate, ResolvedStudy
from sweeps.definition.spaces import Configuration
from sweeps.definition.study import MAX_SEEDS, Population
from sweeps.folder.ledger import Record
from sweeps.phases.context import Context
from sweeps.phases.units import Batch, Blocked, Unit
from sweeps.planning.trials import Trial
from sweeps.search.designs import sobol_point
from sweeps.search.population import Line, Observation, first_generation, next_generation
from sweeps.search.selection import objective
from trainables.checkpoint import handover_path

NAME = "population"


def units(context: Context) -> list[Unit]:
    """The population, and the replicates of its best course of weights."""
    resolved = context.resolved
    settings, candidate = resolved.study.population, resolved.population
    if settings is None or candidate is None:
        return []
    population = PopulationUnit(context, settings, candidate)
    found: list[Unit] = [population]
    replicates = replicates_of(resolved)
    if replicates:
        found.append(_replicates(context, population, candidate, replicates))
    return found


def replicates_of(resolved: ResolvedStudy) -> int:
    """How often the course of weights of the best member is trained: as often as replicates."""
    settings, replicate = resolved.study.population, resolved.study.replicate
    if settings is None:
        return 0
    return settings.seeds or (replicate.seeds if replicate else 0)


def _replicates(
    context: Context, population: PopulationUnit, candidate: Candidate, count: int
) -> Batch:
    resolved = context.resolved

    def plan() -> list[Trial] | None:
        configuration = population.best()
        if configuration is None:
            return None
        reference = context.reference() if context.has_reference else None
        return [
            resolved.trial(
                "replicate", candidate, configuration, seed, reference=reference, evaluate_test=True
            )
            for seed in resolved.fresh_seeds(count)
        ]

    batch = Batch("replicate", candidate.variant, count, plan)
    context.replicas[candidate.variant] = batch
    return batch


class PopulationUnit(Unit):
    """A population, generation by generation.

    Args:
        context: What the phases share.
        settings: The section of the study.
        candidate: What trains: its space holds the training settings that members draw from.
    """

    def __init__(self, context: Context, settings: Population, candidate: Candidate) -> None:
        epochs = int(context.resolved.protocol["epochs"])
        self.generations = math.ceil(epochs / settings.interval)
        self.size = context.resolved.population_size
        super().__init__(NAME, candidate.variant, self.size * self.generations)
        self._context = context
        self._settings = settings
        self._candidate = candidate
        self._epochs = epochs
        self._generation = 0
        self._lines: list[Line] = []
        self._waiting: deque[Trial] = deque()
        self._members: dict[str, list[int]] = {}
        self._records: dict[int, Record] = {}
        self._before: list[float] = []
        self._history: list[Observation] = []
        self._previous: list[str] = []
        self._left_behind: list[str] = []
        self._failure: str | None = None

    def _next(self) -> Trial | None:
        if self._failure is not None:
            raise Blocked(self._failure)
        if not self._lines and not self._begin():
            return None
        return self._waiting.popleft() if self._waiting else None

    def _put_back(self, trial: Trial) -> None:
        self._waiting.appendleft(trial)

    def seconds_left(self, each: float) -> float:
        """Estimated seconds: a generation is a part of a training."""
        return super().seconds_left(each) / self.generations

    def lengths_left(self, epochs: int) -> list[int]:
        """The epochs in the record of each trial to come: those before it goes on too."""
        here = self.size - len(self._records) - self.running
        later = range(self._generation + 1, self.generations)
        return [
            self._until(generation)
            for generation, trials in ((self._generation, here), *((g, self.size) for g in later))
            for _ in range(trials)
        ]

    @property
    def most_states(self) -> int:
        """How many states that are handed on lie on the disk at most from now on: two generations'.

        The last generation hands nothing on.
        """
        if self.done or self._generation == self.generations - 1:
            return 0
        return self.size * min(2, self.generations - 1)

    def _until(self, generation: int) -> int:
        """After how many epochs a generation ends."""
        return min((generation + 1) * self._settings.interval, self._epochs)

    def _told(self, trial: Trial, record: Record) -> None:
        for member in self._members[trial.trial_id]:
            if member not in self._records:
                self._records[member] = record
                break
        if len(self._records) == self.size:
            self._left_behind += self._previous
            self._previous = [ended.trial_id for ended in self._records.values()]
            self._end_generation()
        if self._context.extend:
            self._clear()

    # ------------------------------------------------------------------ generations

    def _begin(self) -> bool:
        resolved, space = self._context.resolved, self._candidate.space
        if self._context.has_reference and self._context.reference() is None:
            return False
        seed = resolved.study.seed
        draws = derived_seed(seed, self.variant, "training")
        searched = bool(space.dimensions())
        points = [sobol_point(space, draws, i) if searched else {} for i in range(self.size)]
        training = [space.configuration(point).training for point in points]
        lines = first_generation(self.size, len(resolved.tasks), training, seed)
        # Seeds of members are those of searches, never those of replicates.
        self._lines = [
            Line(line.course, line.training, seed + index % MAX_SEEDS)
            for index, line in enumerate(lines)
        ]
        self._plan()
        return True

    def _plan(self) -> None:
        """Makes the trials of the generation."""
        trials = [self._trial(line) for line in self._lines]
        self._members = {}
        for member, trial in enumerate(trials):
            self._members.setdefault(trial.trial_id, []).append(member)
        self._waiting = deque(trials)
        self._records = {}

    def _trial(self, line: Line) -> Trial:
        last = self._generation == self.generations - 1
        until = None if last else self._until(self._generation)
        reference = self._context.reference() if self._context.has_reference else None
        return self._context.resolved.trial(
            NAME,
            self._candidate,
            self._configuration(line),
            line.seed,
            reference=reference,
            until=until,
            continues=line.trial_id,
            hand_on=not last,
        )

    def _configuration(self, line: Line) -> Configuration:
        tasks = len(self._context.resolved.tasks)
        course = [(epoch, [tasks * w for w in weights]) for epoch, weights in line.course]
        space = self._candidate.space.configuration(self._candidate.space.corner())
        hyperparameters = {**space.hyperparameters, "course": course_text(course)}
        return Configuration(hyperparameters, line.training)

    def _end_generation(self) -> None:
        if self._generation == self.generations - 1:
            return
        records = [self._records[member] for member in range(self.size)]
        values = [_value(record) for record in records]
        self._observe(values)
        epoch = self._until(self._generation)
        lines = [
            Line(line.course, line.training, line.seed, record.trial_id)
            for line, record in zip(self._lines, records, strict=True)
        ]
        draws = derived_seed(self._context.resolved.study.seed, self.variant)
        try:
            following = next_generation(lines, values, epoch, self._settings, draws, self._history)
        except ValueError:
            self._failure = f"none of the {self.size} members of {self.variant} finished"
            return
        places = {line.trial_id: place for place, line in enumerate(lines)}
        self._before = [values[places[line.trial_id]] for line in following]
        self._lines = following
        self._generation += 1
        self._plan()

    def _observe(self, values: list[float]) -> None:
        """Notes what members gained, in standard deviations over the generation."""
        before = self._before or [0.0] * self.size
        gains = [value - old for value, old in zip(values, before, strict=True)]
        finite = [gain for gain in gains if math.isfinite(gain)]
        if not finite:
            return
        mean, spread = statistics.fmean(finite), statistics.pstdev(finite) or 1.0
        self._history += [
            Observation(self._generation, line.weights, (gain - mean) / spread)
            for line, gain in zip(self._lines, gains, strict=True)
            if math.isfinite(gain)
        ]

    def _clear(self) -> None:
        """Removes states that no later trial goes on from."""
        results: Path = self._context.search_folder.parent
        for trial_id in self._left_behind:
            path = handover_path(results, trial_id)
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # another file may lie there
                path.parent.rmdir()
        self._left_behind.clear()

    # ------------------------------------------------------------------ the answer

    def best(self) -> Configuration | None:
        """The course of the best member; ``None`` while the population trains.

        Raises:
            Blocked: If no member finished.
        """
        if self.blocked is not None:
            raise Blocked(self.blocked)
        if not self.done:
            return None
        values = [objective(self._records[member]) for member in range(self.size)]
        finished = [
            member
            for member, value in enumerate(values)
            if self._records[member].status == "finished" and math.isfinite(value)
        ]
        if not finished:
            raise Blocked(f"none of the {self.size} members of {self.variant} finished")
        winner = max(finished, key=lambda member: (values[member], -member))
        return self._configuration(self._lines[winner])


def _value(record: Record) -> float:
    """What a member is at the end of a generation: the measure after its last epoch."""
    if record.status != "finished":
        return math.nan
    rows = record.epochs()
    value = rows[-1].get("selection") if rows else None
    return float(value) if isinstance(value, int | float) else math.nan
