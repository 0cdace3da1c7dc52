"""A study that can run: names looked up, defaults filled in, trials made on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtl_methods import MethodInfo
from sweeps.definition.identity import digest
from sweeps.definition.spaces import Configuration, Space
from sweeps.definition.study import MAX_SEEDS, Constant, Setting, Study
from sweeps.errors import StudyError
from sweeps.planning.trials import Trial
from sweeps.search.objectives import Objective, Selection, make_objectives
from trainables.problem import Problem, Task
from trainables.spec import TrialSpec

__all__ = [
    "COURSE",
    "SCALARISATION",
    "SINGLE_TASK",
    "TRAINING_PARAMETERS",
    "Candidate",
    "ResolvedStudy",
    "training_settings",
]

SINGLE_TASK = "stl"
"""The method of the baselines: trains one task, named by its hyper-parameter ``task``."""
COURSE = "ls_course"
"""The method of static weights that change at given epochs, by its hyper-parameter ``course``."""
SCALARISATION = "ls"
"""The method of static weights, given by its hyper-parameter ``weights``."""

_MEMBERS = 8
TRAINING_PARAMETERS = ("lr", "weight_decay", "dropout", "method_lr")
"""The training settings that can be searched, alike for every method."""


@dataclass(frozen=True)
class Candidate:
    """A method that takes part, with its search space.

    Attributes:
        variant: Its label in tables, unique in the study.
        info: What the method declares.
        space: What is searched; a single point if nothing is.
        start_from: Parts of points that its search begins with.
    """

    variant: str
    info: MethodInfo
    space: Space
    start_from: tuple[Mapping[str, Any], ...] = ()

    @property
    def method(self) -> str:
        """Registered name of the method."""
        return self.info.name


@dataclass(frozen=True)
class ResolvedStudy:
    """A study that can run.

    Attributes:
        study: The study as read.
        problem: The problem.
        protocol: All training settings; the searched ones as they are by default.
        candidates: The methods, in the study's order.
        baselines: A single-task candidate per task; empty without that phase.
        points: The weights of the weight sweep, by task, summing to 1; empty without that phase.
        population: What population-based training trains; ``None`` without that phase.
        notes: One sentence for everything that does not fit and is no error.
    """

    study: Study
    problem: Problem[Any]
    protocol: Mapping[str, Any]
    candidates: tuple[Candidate, ...]
    baselines: tuple[Candidate, ...]
    points: tuple[Mapping[str, float], ...]
    population: Candidate | None = None
    notes: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The K tasks, in the problem's order."""
        return self.problem.tasks

    @cached_property
    def task_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(task.name for task in self.tasks)

    def candidate(self, variant: str) -> Candidate:
        """The candidate of a label."""
        own: tuple[Candidate, ...] = () if self.population is None else (self.population,)
        return next(c for c in (*self.candidates, *self.baselines, *own) if c.variant == variant)

    @property
    def scalarisation(self) -> Candidate | None:
        """The candidate whose training settings the weight sweep uses."""
        return next((c for c in self.candidates if c.method == SCALARISATION), None)

    # ------------------------------------------------------------------ what is optimised

    @cached_property
    def objectives(self) -> tuple[Objective | Selection, ...]:
        """What the search of every method optimises."""
        return make_objectives(self.study.objectives, self.study.selection, self.tasks)

    @property
    def choose(self) -> str:
        """Which of the non-dominated configurations of a method is its best."""
        replicate = self.study.replicate
        return (replicate.choose if replicate else None) or "knee"

    @property
    def max_configurations(self) -> int:
        """How many configurations of a method are replicated at most."""
        replicate = self.study.replicate
        return (replicate.max_configurations if replicate else None) or 1

    # ------------------------------------------------------------------ seeds

    @property
    def search_seeds(self) -> list[int]:
        """Seeds of the search, alike for every configuration of every method."""
        count = self.study.budget.seeds if self.study.budget else 1
        return [self.study.seed + index for index in range(count)]

    def fresh_seeds(self, count: int) -> list[int]:
        """Seeds that no search has used, alike for every method so that they can be paired."""
        return [self.study.seed + MAX_SEEDS + index for index in range(count)]

    @property
    def population_size(self) -> int:
        """Members of a population: by default as many as a method has search trials."""
        population, budget = self.study.population, self.study.budget
        if population is not None and population.size is not None:
            return population.size
        return max(2, budget.trials * budget.seeds) if budget and budget.trials else _MEMBERS

    @property
    def baseline_seeds(self) -> int:
        """How often the best single-task model of each task is replicated."""
        baselines, replicate = self.study.baselines, self.study.replicate
        if baselines is None:
            return 0
        if baselines.seeds is not None:
            return baselines.seeds
        return replicate.seeds if replicate else 0

    @property
    def fixed_seeds(self) -> int:
        """How many seeds fixed weights are trained with: by default as many as replicates."""
        fixed, replicate = self.study.fixed_weights, self.study.replicate
        if fixed is None or replicate is None:
            return 0
        return fixed.seeds or replicate.seeds

    # ------------------------------------------------------------------ trials

    def trial(
        self,
        phase: str,
        candidate: Candidate,
        configuration: Configuration,
        seed: int,
        *,
        reference: Mapping[str, Mapping[str, float]] | None,
        evaluate_test: bool = False,
        variant: str | None = None,
        source_method: str | None = None,
        static_weights: Mapping[str, float] | None = None,
        until: int | None = None,
        continues: str | None = None,
        hand_on: bool = False,
    ) -> Trial:
        """Plans a trial of a candidate.

        Args:
            phase: The phase it belongs to.
            candidate: What trains.
            configuration: With which settings.
            seed: With which seed.
            reference: Single-task validation metrics by task; ``None`` for single-task models.
            evaluate_test: Whether the test split is read at its end.
            variant: Its label, if it is not the candidate's.
            source_method: For fixed weights, the label of their source.
            static_weights: For a point of the weight sweep, its weights.
            until: After how many epochs it ends, if not after all.
            continues: The trial whose last state it goes on from.
            hand_on: Whether it leaves its last state for others.
        """
        spec = TrialSpec.from_dict(
            {
                "problem": {"name": self.problem.name, "options": self.problem.settings()},
                "method": {
                    "name": candidate.method,
                    "hyperparameters": dict(configuration.hyperparameters),
                },
                "training": {**self.protocol, **configuration.training},
                "seed": seed,
                "evaluate_test": evaluate_test,
                "selection": self.study.selection,
                "reference": reference,
                "until": until,
            }
        )
        return Trial(
            trial_id=spec.trial_id,
            configuration_id=spec.configuration_id,
            spec=spec.to_dict(),
            phase=phase,
            method=candidate.method,
            variant=variant or candidate.variant,
            source_method=source_method,
            static_weights=static_weights,
            continues=continues,
            hand_on=hand_on,
        )

    # ------------------------------------------------------------------ identity

    @cached_property
    def as_run(self) -> dict[str, Any]:
        """The study with every default written out: itself a valid study file."""
        study = self.study
        written = study.model_dump(mode="json")
        schedule = dict(self.protocol["schedule"])
        written["problem"] = {"name": self.problem.name, **self.problem.settings()}
        written["protocol"] = {
            **{key: self.protocol[key] for key in written["protocol"] if key != "schedule"},
            "schedule": schedule,
        }
        written["search_space"] = {
            name: setting.as_yaml()
            for name, setting in training_settings(study, self.protocol).items()
        }
        written["methods"] = [
            {
                "name": candidate.method,
                "label": candidate.variant,
                **{
                    name: _plain(setting.as_yaml())
                    for name, setting in candidate.space.hyperparameters.items()
                },
            }
            for candidate in self.candidates
        ]
        return {key: value for key, value in written.items() if value is not None}

    @cached_property
    def study_hash(self) -> str:
        """Digest of everything that determines results.

        All but description, resources, what follows the sweep, and how long a run may take.
        """
        free = {"description", "resources", "mirror", "trackers"}
        kept = {key: value for key, value in self.as_run.items() if key not in free}
        if "budget" in kept:
            kept["budget"] = {k: v for k, v in kept["budget"].items() if k != "hours"}
        return digest(kept)


def training_settings(study: Study, defaults: Mapping[str, Any]) -> dict[str, Setting]:
    """What a study says of the training hyper-parameters that can be searched.

    Args:
        study: The study.
        defaults: What they are if the study does not say.

    Raises:
        StudyError: If something is to be searched without a budget.
    """
    given = {name: getattr(study.search_space, name) for name in TRAINING_PARAMETERS}
    settings = {
        name: Constant(defaults[name]) if setting is None else setting
        for name, setting in given.items()
    }
    for name, setting in settings.items():
        if study.budget is None and not isinstance(setting, Constant):
            raise StudyError(
                f"search_space.{name}: a list or range is searched, which needs a budget; "
                "give one value or add budget: {trials: ...}"
            )
    return settings


def _plain(value: Any) -> Any:
    """Tuples as lists, and pairs of names and numbers as mappings, for YAML."""
    if isinstance(value, tuple):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return {key: _plain(item) for key, item in value}
        return [_plain(item) for item in value]
    return [_plain(item) for item in value] if isinstance(value, list) else value
