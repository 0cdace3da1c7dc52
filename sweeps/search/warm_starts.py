"""Warm starts: configurations that the search of a method begins with (``start_from``).

They are either named in the study or those that papers name as best (``search/papers.yaml``). A
configuration is the part of a point of the search space that it speaks of; the sampler completes
it. What a study names must lie in its search space. What a paper names is moved to the end of a
range beyond which it lies, and left out where it is none of a list of choices; a sentence says so.
"""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from mtl_methods.configuration import closest
from mtl_methods.errors import FairsweepError
from sweeps.definition.resolved import TRAINING_PARAMETERS, Candidate
from sweeps.definition.spaces import Dimension, Scalar
from sweeps.definition.study import Constant, NamedConfiguration, Simplex
from sweeps.errors import StudyError
from trainables.problem import Problem

__all__ = ["paper_entries", "warm_starts"]

Point = dict[str, Scalar]


def warm_starts(
    start_from: str | Sequence[NamedConfiguration] | None,
    candidates: Sequence[Candidate],
    problem: Problem[Any],
) -> tuple[dict[str, list[Point]], list[str]]:
    """Where the search of each method begins.

    Args:
        start_from: What the study says.
        candidates: Its methods.
        problem: Its problem.

    Returns:
        Parts of points by label, and one sentence for everything of a paper that does not fit.

    Raises:
        StudyError: If a configuration of the study does not fit its search space.
    """
    points: dict[str, list[Point]] = {candidate.variant: [] for candidate in candidates}
    notes: list[str] = []
    if start_from is None:
        return points, notes
    if isinstance(start_from, str):
        for candidate in candidates:
            for source, settings in _of_papers(candidate, problem):
                point = _fitted(candidate, settings, source, notes)
                if point and point not in points[candidate.variant]:
                    points[candidate.variant].append(point)
        return points, notes
    by_label = {candidate.variant: candidate for candidate in candidates}
    for index, named in enumerate(start_from):
        place = f"start_from.{index}"
        if named.method not in by_label:
            raise StudyError(
                f"{place}.method: there is no method {named.method!r} in this study"
                f"{closest(named.method, by_label)}; valid: {', '.join(by_label)}"
            )
        points[named.method].append(_given(by_label[named.method], named.settings, place))
    return points, notes


# ------------------------------------------------------------------ papers


@cache
def paper_entries() -> tuple[Mapping[str, Any], ...]:
    """All entries of ``papers.yaml``."""
    path = importlib.resources.files("sweeps.search") / "papers.yaml"
    return tuple(yaml.safe_load(path.read_text(encoding="utf-8")))


def _of_papers(candidate: Candidate, problem: Problem[Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Source and settings of what papers name for a method on a problem."""
    options = problem.settings()
    return [
        (entry["source"], entry["methods"][candidate.method])
        for entry in paper_entries()
        if candidate.method in entry["methods"]
        and entry.get("problem") in {None, problem.name}
        and all(options.get(key) == value for key, value in (entry.get("options") or {}).items())
    ]


def _fitted(
    candidate: Candidate, settings: Mapping[str, Any], source: str, notes: list[str]
) -> Point:
    """The part of a paper's configuration that a study searches, moved into its ranges."""
    dimensions = {d.name: d for d in candidate.space.dimensions()}
    point: Point = {}
    for name, value in settings.items():
        dimension = dimensions.get(_name(name))
        if dimension is None:
            constant = _constant(candidate, name)
            if constant is not None and not _same(constant.value, value):
                notes.append(
                    f"{candidate.variant} starts with {name} = {constant.value!r}, which the study "
                    f"holds, not with the {value!r} of {source}"
                )
            continue
        if dimension.kind == "choice":
            found = [choice for choice in dimension.choices if _same(choice, value)]
            if not found:
                notes.append(
                    f"{candidate.variant} does not start with {name} = {value!r} of {source}, "
                    f"which is none of {', '.join(map(str, dimension.choices))}"
                )
                continue
            point[dimension.name] = found[0]
            continue
        inside = min(max(value, dimension.low), dimension.high)
        if inside != value:
            notes.append(
                f"{candidate.variant} starts with {name} = {inside:g}, the end of its range, "
                f"instead of the {value:g} of {source}"
            )
        point[dimension.name] = round(inside) if dimension.kind == "int" else float(inside)
    return point


# ------------------------------------------------------------------ named in the study


def _given(candidate: Candidate, settings: Mapping[str, Any], place: str) -> Point:
    if not settings:
        raise StudyError(f"{place}: it names no setting; valid: {', '.join(_valid(candidate))}")
    dimensions = {d.name: d for d in candidate.space.dimensions()}
    point: Point = {}
    for name, value in settings.items():
        where = f"{place}.{name}"
        if name not in _valid(candidate):
            raise StudyError(
                f"{where}: {candidate.variant} has no setting {name!r}"
                f"{closest(name, _valid(candidate))}; valid: {', '.join(_valid(candidate))}"
            )
        setting = candidate.space.hyperparameters.get(name)
        if isinstance(setting, Simplex):
            point.update(_uniforms(candidate, name, value, where))
            continue
        dimension = dimensions.get(_name(name))
        if dimension is not None:
            point[dimension.name] = _checked(dimension, value, where)
            continue
        constant = _constant(candidate, name)
        if constant is None or not _same(constant.value, value):
            held = None if constant is None else constant.value
            raise StudyError(
                f"{where}: {value!r} cannot be started from, because the study holds {name} of "
                f"{candidate.variant} at {held!r}"
            )
    return point


def _checked(dimension: Dimension, value: Any, where: str) -> Scalar:
    if dimension.kind == "choice":
        for choice in dimension.choices:
            if _same(choice, value):
                return choice
        raise StudyError(
            f"{where}: {value!r} is not searched; valid: {', '.join(map(str, dimension.choices))}"
        )
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not dimension.low <= value <= dimension.high:
        raise StudyError(
            f"{where}: {value!r} is outside the range that is searched, {dimension.low:g} to "
            f"{dimension.high:g}"
        )
    if dimension.kind == "int" and value != int(value):
        raise StudyError(f"{where}: {value!r} is not valid; it must be a whole number")
    return int(value) if dimension.kind == "int" else float(value)


def _uniforms(candidate: Candidate, name: str, value: Any, where: str) -> Point:
    """Weights as the uniform numbers that they are made from: ``u_k = exp(-w_k / mean(w))``."""
    tasks = candidate.space.tasks
    declared = next(p for p in candidate.info.hyperparameters if p.name == name)
    try:
        declared.validate(value, candidate.variant)
    except FairsweepError as error:
        raise StudyError(f"{where}: {error}") from error
    weights = dict(value) if isinstance(value, Mapping) else dict(zip(tasks, value, strict=False))
    if set(weights) != set(tasks) or len(value) != len(tasks):
        raise StudyError(f"{where}: {value!r} does not weight exactly the tasks {', '.join(tasks)}")
    mean = math.fsum(weights.values()) / len(tasks)
    dimensions = {d.name: d for d in candidate.space.dimensions()}
    point: Point = {}
    for task in tasks:
        dimension = dimensions[f"method.{name}.{task}"]
        uniform = math.exp(-weights[task] / mean)
        point[dimension.name] = min(max(uniform, dimension.low), dimension.high)
    return point


# ------------------------------------------------------------------ names and values


def _name(setting: str) -> str:
    """The name of a setting in a point."""
    kind = "training" if setting in TRAINING_PARAMETERS else "method"
    return f"{kind}.{setting}"


def _valid(candidate: Candidate) -> list[str]:
    return [*candidate.space.hyperparameters, *candidate.space.training]


def _constant(candidate: Candidate, name: str) -> Constant | None:
    settings = {**candidate.space.training, **candidate.space.hyperparameters}
    setting = settings.get(name)
    return setting if isinstance(setting, Constant) else None


def _same(one: Any, other: Any) -> bool:
    numbers = [
        isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other)
    ]
    if all(numbers):
        return math.isclose(one, other, rel_tol=1e-9)
    return type(one) is type(other) and bool(one == other)
