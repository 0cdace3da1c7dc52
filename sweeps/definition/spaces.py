"""Search spaces: what of a method is searched, and how a point of the space becomes settings.

A space is plain data; Optuna's distributions are made from it on demand. The parameters of a point
are named ``method.<hyper-parameter>`` and ``training.<hyper-parameter>``; weights on the simplex
have one parameter per task, ``method.<hyper-parameter>.<task>``.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mtl_methods.configuration import HyperParameter, closest
from mtl_methods.errors import ConfigurationError
from sweeps.definition.study import Choices, Constant, Range, Setting, Simplex, parse_setting
from sweeps.errors import StudyError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Configuration", "Dimension", "Space", "method_settings", "simplex_weights"]

# -log u is finite and positive on this interval, so that every task keeps some weight.
_U_LOW, _U_HIGH = 1e-6, 1.0 - 1e-6

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Configuration:
    """Settings of a method and its training, without a seed.

    Attributes:
        hyperparameters: All hyper-parameters of the method, defaults included.
        training: The training hyper-parameters.
    """

    hyperparameters: Mapping[str, Any]
    training: Mapping[str, Any]


@dataclass(frozen=True)
class Dimension:
    """One searched parameter: a range of numbers or a list of choices.

    Attributes:
        name: Its name in a point.
        kind: ``"float"``, ``"int"`` or ``"choice"``.
        low: Lower end of a range.
        high: Upper end of a range.
        log: Whether the range is searched on a logarithmic scale.
        choices: The values of a choice; values that are no scalars stand as JSON.
        default: Where a search starts, if the default lies in the range.
    """

    name: str
    kind: Literal["float", "int", "choice"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Scalar, ...] = ()
    default: Scalar = None

    def distribution(self) -> BaseDistribution:
        """This dimension for Optuna."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.kind == "choice":
            return CategoricalDistribution(self.choices)
        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def describe(self) -> str:
        """This dimension in words: ``method.alpha 1 to 10 (log)``."""
        if self.kind == "choice":
            return f"{self.name} of {', '.join(map(str, self.choices))}"
        return f"{self.name} {self.low:g} to {self.high:g}" + (" (log)" if self.log else "")

    @property
    def size(self) -> int | None:
        """The number of values, ``None`` for a continuum."""
        if self.kind == "choice":
            return len(self.choices)
        return int(self.high) - int(self.low) + 1 if self.kind == "int" else None

    def values(self) -> Sequence[Scalar]:
        """All values of a finite dimension."""
        return self.choices if self.kind == "choice" else range(int(self.low), int(self.high) + 1)

    def draw(self, generator: random.Random) -> Scalar:
        """A random value."""
        if self.size is not None:
            return generator.choice(self.values())
        if self.log:
            exponent = generator.uniform(math.log(self.low), math.log(self.high))
            return min(max(math.exp(exponent), self.low), self.high)
        return generator.uniform(self.low, self.high)


@dataclass(frozen=True)
class Space:
    """The search space of one method.

    Attributes:
        hyperparameters: What is said of each hyper-parameter of the method.
        training: What is said of each training hyper-parameter.
        tasks: The K tasks, for weights on the simplex.
        integers: The hyper-parameters that take whole numbers only.
        defaults: Defaults of the method's hyper-parameters, where the search starts.
    """

    hyperparameters: Mapping[str, Setting]
    training: Mapping[str, Setting]
    tasks: tuple[str, ...]
    integers: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] | None = None

    def dimensions(self) -> tuple[Dimension, ...]:
        """The searched parameters, the method's own first."""
        found: list[Dimension] = []
        for name, setting in self.hyperparameters.items():
            if isinstance(setting, Simplex):
                found += [
                    Dimension(
                        f"method.{name}.{task}", "float", _U_LOW, _U_HIGH, default=math.exp(-1)
                    )
                    for task in self.tasks
                ]
            else:
                default = (self.defaults or {}).get(name)
                kind: Literal["float", "int"] = "int" if name in self.integers else "float"
                found += _dimension(f"method.{name}", setting, kind, default)
        for name, setting in self.training.items():
            found += _dimension(f"training.{name}", setting, "float", None)
        return tuple(found)

    def describe(self) -> list[str]:
        """What is searched in words; weights on the simplex are said once."""
        weights = [n for n, found in self.hyperparameters.items() if isinstance(found, Simplex)]
        inner = {f"method.{name}.{task}" for name in weights for task in self.tasks}
        words = [f"method.{name} on the simplex of {len(self.tasks)} tasks" for name in weights]
        return words + [d.describe() for d in self.dimensions() if d.name not in inner]

    def settings(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A part of a point with weights in place of the numbers that they are made from."""
        found = dict(point)
        for name, setting in self.hyperparameters.items():
            names = [f"method.{name}.{task}" for task in self.tasks]
            if isinstance(setting, Simplex) and set(names) <= set(found):
                found.update(
                    zip(names, simplex_weights([found[name] for name in names]), strict=True)
                )
        return found

    def distributions(self) -> dict[str, BaseDistribution]:
        """The space for Optuna's ``ask``."""
        return {dimension.name: dimension.distribution() for dimension in self.dimensions()}

    @property
    def size(self) -> int | None:
        """The number of points, ``None`` if there is a continuum."""
        sizes = [dimension.size for dimension in self.dimensions()]
        finite = [size for size in sizes if size is not None]
        return math.prod(finite) if len(finite) == len(sizes) else None

    def start(self) -> dict[str, Scalar]:
        """The part of a point that is known to be good: the method's defaults within the space."""
        return {
            dimension.name: dimension.default
            for dimension in self.dimensions()
            if dimension.default is not None
        }

    def grid(self) -> Iterator[dict[str, Scalar]]:
        """All points of a finite space, in a fixed order."""
        dimensions = self.dimensions()
        for values in itertools.product(*(dimension.values() for dimension in dimensions)):
            yield {d.name: value for d, value in zip(dimensions, values, strict=True)}

    def corner(self) -> dict[str, Scalar]:
        """Some point of the space, the same every time."""
        return {d.name: d.choices[0] if d.choices else d.low for d in self.dimensions()}

    def configuration(self, point: Mapping[str, Any]) -> Configuration:
        """The settings of a point.

        Args:
            point: A value for each dimension.

        Returns:
            All settings; weights on the simplex sum to K, so that equal weights are those of a
            plain sum of losses.
        """
        hyperparameters: dict[str, Any] = {}
        for name, setting in self.hyperparameters.items():
            if isinstance(setting, Simplex):
                uniforms = [point[f"method.{name}.{task}"] for task in self.tasks]
                weights = simplex_weights(uniforms)
                hyperparameters[name] = dict(zip(self.tasks, weights, strict=True))
            else:
                hyperparameters[name] = _value(setting, point.get(f"method.{name}"))
        training = {
            name: _value(setting, point.get(f"training.{name}"))
            for name, setting in self.training.items()
        }
        return Configuration(hyperparameters, training)

    def as_json(self) -> dict[str, Any]:
        """The space as plain data: what identifies it."""
        return {
            "hyperparameters": {
                name: {type(setting).__name__.lower(): setting.as_yaml()}
                for name, setting in self.hyperparameters.items()
            },
            "training": {
                name: {type(setting).__name__.lower(): setting.as_yaml()}
                for name, setting in self.training.items()
            },
            "tasks": list(self.tasks),
        }


def simplex_weights(uniforms: Sequence[float]) -> list[float]:
    """Maps independent uniform numbers to weights distributed uniformly over the simplex.

    ``w_k = K · (−log u_k) / Σ_j (−log u_j)``: exponential variates over their sum are uniform on
    the simplex for any K (Devroye, Non-Uniform Random Variate Generation, 1986, chapter XI.4).

    Args:
        uniforms: K numbers in (0, 1).

    Returns:
        K positive weights that sum to K.
    """
    exponentials = [-math.log(u) for u in uniforms]
    total = math.fsum(exponentials)
    return [len(exponentials) * value / total for value in exponentials]


def _dimension(
    name: str, setting: Setting, number: Literal["float", "int"], default: Any
) -> list[Dimension]:
    if isinstance(setting, Range):
        inside = (
            isinstance(default, int | float)
            and not isinstance(default, bool)
            and setting.low <= default <= setting.high
        )
        start = default if inside else None
        return [Dimension(name, number, setting.low, setting.high, setting.log, default=start)]
    if isinstance(setting, Choices):
        choices = tuple(_encode(value) for value in setting.values)
        encoded = _encode(default)
        known = any(type(encoded) is type(choice) and encoded == choice for choice in choices)
        return [Dimension(name, "choice", choices=choices, default=encoded if known else None)]
    return []


def _encode(value: Any) -> Scalar:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return json.dumps(value, sort_keys=True)


def _value(setting: Setting, chosen: Any) -> Any:
    if isinstance(setting, Constant):
        return setting.value
    if isinstance(setting, Choices):
        for value in setting.values:
            encoded = _encode(value)
            if type(encoded) is type(chosen) and encoded == chosen:
                return value
        raise ValueError(f"{chosen!r} is none of {setting.values!r}")
    return chosen


# ------------------------------------------------------------------ what a study says of a method


def method_settings(
    owner: str,
    declared: Sequence[HyperParameter],
    given: Mapping[str, Any],
    *,
    search: bool,
    where: str,
    tasks: Sequence[str],
) -> dict[str, Setting]:
    """What is to be done with each hyper-parameter of a method.

    Args:
        owner: The method's name.
        declared: Its hyper-parameters as declared.
        given: What the study says of them.
        search: Whether the study searches: unmentioned hyper-parameters with a recommended range
            are then searched over it, the rest keep their defaults.
        where: The place in the study, for messages.
        tasks: The K tasks, which weights must be given for.

    Raises:
        StudyError: If a name is unknown or a value lies outside the valid range.
    """
    settings: dict[str, Setting] = {}
    by_name = {parameter.name: parameter for parameter in declared}
    for name in given:
        if name not in by_name:
            valid = ", ".join(["name", "label", *by_name])
            raise StudyError(
                f"{where}: {owner} has no hyper-parameter {name!r}{closest(name, by_name)}; "
                f"valid keys: {valid}"
            )
    for parameter in declared:
        if parameter.name in given:
            place = f"{where}.{parameter.name}"
            settings[parameter.name] = _given(owner, parameter, given[parameter.name], place, tasks)
            if not search and not isinstance(settings[parameter.name], Constant):
                raise StudyError(
                    f"{place}: a list or range is searched, which needs a budget; "
                    "give one value or add budget: {trials: ...}"
                )
        else:
            settings[parameter.name] = _unmentioned(parameter, search)
    return settings


def _unmentioned(parameter: HyperParameter, search: bool) -> Setting:
    if not search or parameter.search is None:
        return Constant(parameter.default)
    if parameter.kind in {"float", "int"} and len(parameter.search) == 2:
        low, high = parameter.search
        return Range(low, high, parameter.log)
    return Choices(tuple(parameter.search))


def _given(
    owner: str, parameter: HyperParameter, value: Any, place: str, tasks: Sequence[str]
) -> Setting:
    try:
        if parameter.kind == "weights":
            return _given_weights(owner, parameter, value, tasks)
        setting = parse_setting(value)
        if isinstance(setting, Choices):
            values = tuple(parameter.validate(item, owner) for item in setting.values)
            return _distinct(values)
        if isinstance(setting, Range):
            low = parameter.validate(setting.low, owner)
            return Range(low, parameter.validate(setting.high, owner), setting.log)
        return Constant(parameter.validate(setting.as_yaml(), owner))
    except (StudyError, ConfigurationError, ValueError) as error:
        raise StudyError(f"{place}: {error}") from error


def _given_weights(
    owner: str, parameter: HyperParameter, value: Any, tasks: Sequence[str]
) -> Setting:
    if value == "simplex":
        return Simplex()
    if value is None:
        return Constant(parameter.validate(None, owner))
    several = isinstance(value, list) and value and all(isinstance(v, list | dict) for v in value)
    vectors = value if several else [value]
    for vector in vectors:
        parameter.validate(vector, owner)
        check_tasks(vector, tasks)
    return _distinct(tuple(vectors))


def check_tasks(vector: Mapping[str, float] | Sequence[float], tasks: Sequence[str]) -> None:
    """Checks that there is one weight for each task.

    Raises:
        StudyError: If one is missing, or there is one too many.
    """
    if isinstance(vector, Mapping):
        if set(vector) != set(tasks):
            raise StudyError(
                f"{dict(vector)!r} does not weight exactly the tasks {', '.join(tasks)}"
            )
    elif len(vector) != len(tasks):
        raise StudyError(f"{vector!r} is not one weight for each of {', '.join(tasks)}")


def _distinct(values: tuple[Any, ...]) -> Setting:
    """Choices without repetitions; one value is a constant."""
    by_identity = {(type(value), repr(value)): value for value in values}
    distinct = tuple(by_identity.values())
    return Choices(distinct) if len(distinct) > 1 else Constant(distinct[0])
