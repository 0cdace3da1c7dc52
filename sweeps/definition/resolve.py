"""From a study file to a study that can run: every name looked up, every default filled in.

All that can be wrong with a study is found here, before Ray starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mtl_methods import MethodInfo, Need, list_methods, list_transforms
from mtl_methods.configuration import closest
from mtl_methods.errors import FairsweepError, UnknownNameError
from mtl_methods.registry import method_info
from sweeps.definition.checks import check_resolved
from sweeps.definition.resolved import (
    COURSE,
    SINGLE_TASK,
    Candidate,
    ResolvedStudy,
    training_settings,
)
from sweeps.definition.simplex import weight_points
from sweeps.definition.spaces import Space, method_settings
from sweeps.definition.study import Choices, Constant, MethodChoice, Range, Setting, Study
from sweeps.errors import StudyError
from sweeps.search.warm_starts import warm_starts
from trainables.needs import unserved_needs
from trainables.problem import Problem
from trainables.problems import make_problem
from trainables.spec import TrainingSettings

__all__ = ["resolve"]


def resolve(study: Study) -> ResolvedStudy:
    """Looks every name of a study up, fills every default in and checks that its phases fit.

    Raises:
        StudyError: One sentence: the place in the file, what is wrong, what is valid.
    """
    problem = _problem(study)
    protocol = _protocol(study, problem)
    training = training_settings(study, protocol)
    tasks = tuple(task.name for task in problem.tasks)
    candidates = tuple(
        _candidate(choice, f"methods.{index}", study, problem, training, tasks)
        for index, choice in enumerate(study.methods)
    )
    baselines: tuple[Candidate, ...] = ()
    if study.baselines is not None:
        baselines = tuple(_baseline(task, training, tasks) for task in tasks)
    points: Sequence[Mapping[str, float]] = ()
    if study.weight_sweep is not None:
        points = weight_points(study.weight_sweep, tasks, study.seed)
    starts, notes = warm_starts(study.start_from, candidates, problem)
    candidates = tuple(
        replace(candidate, start_from=tuple(starts[candidate.variant])) for candidate in candidates
    )
    resolved = ResolvedStudy(
        study,
        problem,
        protocol,
        candidates,
        baselines,
        tuple(points),
        population=_population(study, training, tasks),
        notes=tuple(notes),
    )
    check_resolved(resolved)
    return resolved


def _problem(study: Study) -> Problem[Any]:
    for name, value in study.problem.options.items():
        if isinstance(value, float) and math.isinf(value):
            raise StudyError(f"problem.{name}: {value!r} is not a finite number")
    try:
        return make_problem(study.problem.name, **study.problem.options)
    except FairsweepError as error:
        raise StudyError(f"problem: {error}") from error


def _protocol(study: Study, problem: Problem[Any]) -> dict[str, Any]:
    """All training settings that are the same for every trial."""
    given = study.protocol.model_dump(exclude_unset=True)
    try:
        settings = TrainingSettings.from_dict({**problem.training_defaults, **given}).to_dict()
    except FairsweepError as error:
        raise StudyError(f"protocol: {error}") from error
    return settings


def _candidate(
    choice: MethodChoice,
    where: str,
    study: Study,
    problem: Problem[Any],
    training: Mapping[str, Setting],
    tasks: tuple[str, ...],
) -> Candidate:
    try:
        info = method_info(choice.name)
    except UnknownNameError as error:
        raise StudyError(f"{where}: {_unknown_method(choice.name, study, problem)}") from error
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


def _unknown_method(name: str, study: Study, problem: Problem[Any]) -> str:
    """What is wrong with the name of a method, and the names that may stand in its place."""
    known = {*list_methods(), *list_transforms()}
    part = next(part for part in name.split("+") if part not in known)
    heads = problem.build_model().heads
    valid = [
        method
        for method, info in list_methods().items()
        if method != SINGLE_TASK
        and not unserved_needs(info.needs, heads)
        and (study.baselines is not None or Need.PERFORMANCE_DROPS not in info.needs)
    ]
    if part != name:
        valid = sorted({*valid, *list_transforms()})
    whole = "" if part == name else f" in {name!r}"
    return (
        f"there is no method {part!r}{closest(part, valid)}{whole}; valid: {', '.join(valid)}"
        + ("" if whole else ", or several joined by '+'")
    )


def _baseline(task: str, training: Mapping[str, Setting], tasks: tuple[str, ...]) -> Candidate:
    info = method_info(SINGLE_TASK)
    settings: dict[str, Setting] = {
        parameter.name: Constant(task if parameter.name == "task" else parameter.default)
        for parameter in info.hyperparameters
    }
    return Candidate(f"{SINGLE_TASK}:{task}", info, _space(info, settings, training, tasks))


def _population(
    study: Study, training: Mapping[str, Setting], tasks: tuple[str, ...]
) -> Candidate | None:
    """What population-based training trains; its weights are no part of the space."""
    if study.population is None:
        return None
    info = method_info(COURSE)
    settings: dict[str, Setting] = {p.name: Constant(p.default) for p in info.hyperparameters}
    return Candidate(study.population.label, info, _space(info, settings, training, tasks))


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
