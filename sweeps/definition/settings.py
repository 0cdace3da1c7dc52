"""Hyper-parameters as a study file gives them: a constant, a list, a range, the simplex."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, PlainSerializer

from sweeps.definition.places import is_finite

__all__ = [
    "Choices",
    "Constant",
    "DropoutSetting",
    "NonNegativeSetting",
    "PositiveSetting",
    "Range",
    "Setting",
    "Simplex",
    "parse_setting",
]


@dataclass(frozen=True)
class Constant:
    """A hyper-parameter that is not searched."""

    value: Any

    def as_yaml(self) -> Any:
        """The value as it stands in a study file."""
        return self.value


@dataclass(frozen=True)
class Choices:
    """A hyper-parameter searched over a list of values."""

    values: tuple[Any, ...]

    def as_yaml(self) -> Any:
        """The value as it stands in a study file."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A hyper-parameter searched between two numbers, uniformly or on a logarithmic scale."""

    low: float
    high: float
    log: bool = False

    def as_yaml(self) -> Any:
        """The value as it stands in a study file."""
        return {"low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Simplex:
    """Task weights searched uniformly over the simplex."""

    def as_yaml(self) -> Any:
        """The value as it stands in a study file."""
        return "simplex"


Setting: TypeAlias = Constant | Choices | Range | Simplex
_RANGE_KEYS = {"low", "high", "log"}


def parse_setting(value: Any) -> Setting:
    """Reads what a study file says of one hyper-parameter.

    Args:
        value: A constant; a list of choices; or ``{low, high}`` or ``{low, high, log}``.

    Returns:
        The constant, the choices or the range.

    Raises:
        ValueError: If a range lacks a bound or its bounds are in the wrong order, or a number is
            not finite.
    """
    if isinstance(value, Constant | Choices | Range | Simplex):
        return value
    if isinstance(value, Mapping) and set(value) & _RANGE_KEYS:
        return _parse_range(value)
    if isinstance(value, list):
        if not value:
            raise ValueError("an empty list leaves nothing to choose; give at least one value")
        for item in value:
            _check_finite(item)
        return Choices(tuple(value)) if len(value) > 1 else Constant(value[0])
    _check_finite(value)
    return Constant(value)


def _check_finite(value: Any) -> None:
    """Refuses an infinite number, which neither a record nor a table could hold."""
    if isinstance(value, int | float) and not is_finite(value):
        raise ValueError(f"{value!r} is not a finite number")


def _parse_range(value: Mapping[str, Any]) -> Setting:
    unknown = sorted(str(key) for key in set(value) - _RANGE_KEYS)
    if unknown:
        raise ValueError(f"a range has no key {unknown[0]!r}; valid keys: low, high, log")
    if not {"low", "high"} <= set(value):
        raise ValueError("a range needs both low and high")
    low, high, log = value["low"], value["high"], value.get("log", False)
    for key, bound in (("low", low), ("high", high)):
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not is_finite(bound):
            raise ValueError(f"{key} = {bound!r} is not a finite number")
    if not isinstance(log, bool):
        raise ValueError(f"log = {log!r} is neither true nor false")  # noqa: TRY004
    if low > high:
        raise ValueError(f"low = {low!r} is above high = {high!r}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range needs low > 0, not {low!r}")
    return Constant(low) if low == high else Range(low, high, log)


def _number_setting(low: float, high: float | None, *, low_open: bool = False) -> BeforeValidator:
    """Checks a training hyper-parameter: every value it can take lies within the bounds."""

    def check(value: Any) -> Setting:
        setting = parse_setting(value)
        if isinstance(setting, Range):
            values: tuple[Any, ...] = (setting.low, setting.high)
        else:
            values = setting.values if isinstance(setting, Choices) else (setting.as_yaml(),)
        for number in values:
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ValueError(f"{number!r} is not a number")  # noqa: TRY004  (for pydantic)
            valid = low < number if low_open else low <= number
            if not (valid and is_finite(number) and (high is None or number < high)):
                bound = f"{'>' if low_open else '>='} {low:g}"
                bound += "" if high is None else f" and < {high:g}"
                raise ValueError(f"{number!r} is out of range; it must be {bound}")
        return setting

    return BeforeValidator(check)


_AS_YAML = PlainSerializer(lambda setting: setting.as_yaml())
PositiveSetting = Annotated[Any, _number_setting(0.0, None, low_open=True), _AS_YAML]
NonNegativeSetting = Annotated[Any, _number_setting(0.0, None), _AS_YAML]
DropoutSetting = Annotated[Any, _number_setting(0.0, 1.0), _AS_YAML]
