"""From a study file to a study that can run: every name looked up, every default filled in.

All that can be wrong with a study is found here, before Ray starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtl_methods import MethodInfo, Need
from mtl_methods.configuration import closest
from mtl_methods.errors import FairsweepError
from mtl_methods.registry import list_methods, method_info
from sweeps.designs import weight_points
from sweeps.errors import StudyError
from sweeps.identity import digest
from sweeps.objective import needs_reference
from sweeps.samplers import SAMPLERS
from sweeps.spaces import Configuration, Space, method_settings
from sweeps.study import MAX_SEEDS, Choices, Constant, MethodChoice, Range, Setting, Study
from sweeps.trials import Trial
from trainables.problem import Problem, Task
from trainables.problems import make_problem
from trainables.selection import SELECTIONS
from trainables.spec import TrainingSettings, TrialSpec

__all__ = ["SCALARISATION", "SINGLE_TASK", "Candidate", "ResolvedStudy", "resolve"]

SINGLE_TASK = "stl"
"""The method of the baselines: trains one task, named by its hyper-parameter ``task``."""
SCALARISATION = "ls"
"""The method of static weights, given by its hyper-parameter ``weights``."""

_SEARCHED = ("lr", "weight_decay", "dropout", "method_lr")


@dataclass(frozen=True)
class Candidate:
    """A method that takes part, with its search space.

    Attributes:
        variant: Its label in tables, unique in the study.
        info: What the method declares.
        space: What is searched; a single point if nothing is.
    """

    variant: str
    info: MethodInfo
    space: Space

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
        protocol: The training settings that are not searched, all of them.
        candidates: The methods, in the study's order.
        baselines: A single-task candidate per task; empty without that phase.
        points: The weights of the weight sweep, by task, summing to 1; empty without that phase.
    """

    study: Study
    problem: Problem[Any]
    protocol: Mapping[str, Any]
    candidates: tuple[Candidate, ...]
    baselines: tuple[Candidate, ...]
    points: tuple[Mapping[str, float], ...]

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
        return next(c for c in (*self.candidates, *self.baselines) if c.variant == variant)

    @property
    def scalarisation(self) -> Candidate | None:
        """The candidate whose training settings the weight sweep uses."""
        return next((c for c in self.candidates if c.method == SCALARISATION), None)

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
        )

    # ------------------------------------------------------------------ identity

    @cached_property
    def as_run(self) -> dict[str, Any]:
        """The study with every default written out: itself a valid study file."""
        written = self.study.model_dump(mode="json")
        schedule = dict(self.protocol["schedule"])
        written["problem"] = {"name": self.problem.name, **self.problem.settings()}
        written["protocol"] = {
            **{key: self.protocol[key] for key in written["protocol"] if key != "schedule"},
            "schedule": schedule,
        }
        written["search_space"] = {
            name: setting.as_yaml() for name, setting in self._training_settings().items()
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

    def _training_settings(self) -> dict[str, Setting]:
        return _training_settings(self.study, {**TrainingSettings().to_dict(), **self.protocol})

    @cached_property
    def study_hash(self) -> str:
        """Digest of everything that determines results: all but description and resources."""
        free = {"description", "resources"}
        return digest({key: value for key, value in self.as_run.items() if key not in free})


def resolve(study: Study) -> ResolvedStudy:
    """Looks every name of a study up, fills every default in and checks that its phases fit.

    Raises:
        StudyError: One sentence: the place in the file, what is wrong, what is valid.
    """
    problem = _problem(study)
    protocol = _protocol(study, problem)
    training = _training_settings(study, protocol)
    tasks = tuple(task.name for task in problem.tasks)
    candidates = tuple(
        _candidate(choice, f"methods.{index}", study, training, tasks)
        for index, choice in enumerate(study.methods)
    )
    _check_labels(candidates)
    baselines: tuple[Candidate, ...] = ()
    if study.baselines is not None:
        baselines = tuple(_baseline(task, training, tasks) for task in tasks)
    points: Sequence[Mapping[str, float]] = ()
    if study.weight_sweep is not None:
        points = weight_points(study.weight_sweep, tasks, study.seed)
    resolved = ResolvedStudy(study, problem, protocol, candidates, baselines, tuple(points))
    _check_phases(resolved)
    _check_trials(resolved)
    return resolved


def _problem(study: Study) -> Problem[Any]:
    try:
        return make_problem(study.problem.name, **study.problem.options)
    except FairsweepError as error:
        raise StudyError(f"problem: {error}") from error


def _protocol(study: Study, problem: Problem[Any]) -> dict[str, Any]:
    """All training settings that are the same for every trial."""
    given = study.protocol.model_dump(exclude_unset=True)
    try:
        settings = TrainingSettings.from_dict({**problem.protocol, **given}).to_dict()
    except FairsweepError as error:
        raise StudyError(f"protocol: {error}") from error
    return settings


def _training_settings(study: Study, defaults: Mapping[str, Any]) -> dict[str, Setting]:
    given = {name: getattr(study.search_space, name) for name in _SEARCHED}
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


def _candidate(
    choice: MethodChoice,
    where: str,
    study: Study,
    training: Mapping[str, Setting],
    tasks: tuple[str, ...],
) -> Candidate:
    try:
        info = method_info(choice.name)
    except FairsweepError as error:
        raise StudyError(f"{where}: {error}") from error
    if info.name == SINGLE_TASK:
        raise StudyError(
            f"{where}: {SINGLE_TASK} trains one task alone; write 'baselines: {{}}' instead, "
            "which tunes it for every task"
        )
    settings = method_settings(
        info.name,
        info.hyperparameters,
        choice.settings,
        search=study.budget is not None,
        where=where,
        tasks=tasks,
    )
    space = _space(info, settings, training, tasks)
    return Candidate(choice.label or info.name, info, space)


def _baseline(task: str, training: Mapping[str, Setting], tasks: tuple[str, ...]) -> Candidate:
    info = method_info(SINGLE_TASK)
    settings: dict[str, Setting] = {
        parameter.name: Constant(task if parameter.name == "task" else parameter.default)
        for parameter in info.hyperparameters
    }
    return Candidate(f"{SINGLE_TASK}:{task}", info, _space(info, settings, training, tasks))


def _space(
    info: MethodInfo,
    settings: Mapping[str, Setting],
    training: Mapping[str, Setting],
    tasks: tuple[str, ...],
) -> Space:
    """The space of a method; a learning rate for its own parameters only if it has some."""
    own = Need.OWN_PARAMETERS in info.needs
    relevant = {
        name: setting
        if name != "method_lr" or own or isinstance(setting, Constant)
        else Constant(_first(setting))
        for name, setting in training.items()
    }
    return Space(
        hyperparameters=settings,
        training=relevant,
        tasks=tasks,
        integers=frozenset(p.name for p in info.hyperparameters if p.kind == "int"),
        defaults={p.name: p.default for p in info.hyperparameters},
    )


def _first(setting: Setting) -> Any:
    """A value of a setting that has no effect."""
    if isinstance(setting, Range):
        return setting.low
    return setting.values[0] if isinstance(setting, Choices) else setting.as_yaml()


# ------------------------------------------------------------------ what must fit together


def _check_labels(candidates: Sequence[Candidate]) -> None:
    seen: dict[str, int] = {}
    for index, candidate in enumerate(candidates):
        label = candidate.variant
        if label in seen:
            raise StudyError(
                f"methods.{index}: the label {label!r} is that of methods.{seen[label]} already; "
                "give this one a label of its own"
            )
        if label.startswith((f"{SINGLE_TASK}:", f"{SCALARISATION}[", "fixed(")):
            raise StudyError(
                f"methods.{index}.label: {label!r} looks like a label that fairsweep gives; "
                f"valid: anything that does not begin with {SINGLE_TASK}:, {SCALARISATION}[ "
                "or fixed("
            )
        seen[label] = index


def _check_phases(resolved: ResolvedStudy) -> None:
    study = resolved.study
    if study.selection not in SELECTIONS:
        raise StudyError(
            f"selection: there is no measure {study.selection!r}"
            f"{closest(study.selection, SELECTIONS)}; valid: {', '.join(SELECTIONS)}"
        )
    if study.sampler.name not in SAMPLERS:
        raise StudyError(
            f"sampler: there is no sampler {study.sampler.name!r}"
            f"{closest(study.sampler.name, SAMPLERS)}; valid: {', '.join(SAMPLERS)}"
        )
    if study.baselines is None:
        if needs_reference(study.selection):
            raise StudyError(
                f"selection: {study.selection} compares with single-task models; add "
                "'baselines: {}' or select by 'loss'"
            )
        for index, candidate in enumerate(resolved.candidates):
            if Need.PERFORMANCE_DROPS in candidate.info.needs:
                raise StudyError(
                    f"methods.{index}: {candidate.method} needs {Need.PERFORMANCE_DROPS.value}, "
                    "which compare with single-task models; add 'baselines: {}'"
                )
    _check_fixed_weights(resolved)
    if study.weight_sweep is not None and resolved.scalarisation is None:
        raise StudyError(
            f"weight_sweep: it uses the training settings of {SCALARISATION}, which is not among "
            f"methods; add {SCALARISATION}"
        )


def _check_fixed_weights(resolved: ResolvedStudy) -> None:
    fixed = resolved.study.fixed_weights
    if fixed is None:
        return
    labels = [candidate.variant for candidate in resolved.candidates]
    for index, source in enumerate(fixed.sources):
        if source not in labels:
            raise StudyError(
                f"fixed_weights.sources.{index}: there is no method {source!r} in this study"
                f"{closest(source, labels)}; valid: {', '.join(labels)}"
            )
        if source in fixed.sources[:index]:
            raise StudyError(f"fixed_weights.sources.{index}: {source!r} is there twice")
    if resolved.study.replicate is None:
        raise StudyError(
            "fixed_weights: the weights come from replicates; add 'replicate: {seeds: ...}'"
        )


def _check_trials(resolved: ResolvedStudy) -> None:
    """Plans a trial of every candidate, so that no trial can be refused once Ray runs."""
    known = set(list_methods())
    needed = {SINGLE_TASK} if resolved.baselines else set()
    needed |= {SCALARISATION} if resolved.points or resolved.study.fixed_weights else set()
    if needed - known:
        raise StudyError(f"this installation lacks the method {min(needed - known)}")
    for candidate in (*resolved.candidates, *resolved.baselines):
        point = {
            dimension.name: dimension.choices[0] if dimension.choices else dimension.low
            for dimension in candidate.space.dimensions()
        }
        configuration = candidate.space.configuration(point)
        try:
            resolved.trial("check", candidate, configuration, resolved.study.seed, reference=None)
        except FairsweepError as error:
            raise StudyError(f"methods: {candidate.variant}: {error}") from error


def _plain(value: Any) -> Any:
    """Tuples as lists, and pairs of names and numbers as mappings, for YAML."""
    if isinstance(value, tuple):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return {key: _plain(item) for key, item in value}
        return [_plain(item) for item in value]
    return [_plain(item) for item in value] if isinstance(value, list) else value
