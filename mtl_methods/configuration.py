"""Typed settings that validate themselves: one declaration per hyper-parameter, used everywhere.

A class that derives from :class:`Configurable` declares its settings once, as fields::

    class FairGrad(GradientWeighting):
        alpha: float = hyperparameter(2.0, low=0.0, search=(1.0, 10.0), source="section 5.2")

and becomes a keyword-only dataclass whose values are checked on construction. The constructor,
the valid range, the range to search, the documentation and the search space of a study all come
from that line.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, dataclass_transform

from mtl_methods.errors import ConfigurationError, UnknownNameError

__all__ = ["Configurable", "HyperParameter", "closest", "hyperparameter", "registry_lookup"]

Kind = Literal["float", "int", "bool", "choice", "weights", "str"]
_METADATA_KEY = "fairsweep.hyperparameter"
_T = TypeVar("_T")


@dataclass(frozen=True)
class HyperParameter:
    """What is known of one setting.

    Attributes:
        name: Its name, as the keyword argument.
        kind: ``"float"``, ``"int"``, ``"bool"``, ``"choice"`` (one of ``choices``), ``"str"``, or
            ``"weights"`` (one non-negative number per task: a mapping or a sequence).
        default: The value that is used when none is given.
        low: Smallest valid value, ``None`` for no bound.
        high: Largest valid value, ``None`` for no bound.
        low_open: Whether ``low`` itself is excluded.
        high_open: Whether ``high`` itself is excluded.
        choices: The valid values of a ``"choice"``.
        optional: Whether ``None`` is valid.
        search: The range worth searching: ``(low, high)`` for numbers, the values for the rest;
            ``None`` if a study should leave the default alone.
        log: Whether to search on a logarithmic scale.
        source: Where default and ranges come from (paper and place).
        description: What it does, in one sentence, with its unit if it has one.
        attribute: The attribute that holds it, where that is not its name.
    """

    name: str
    kind: Kind
    default: Any
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    choices: tuple[Any, ...] = ()
    optional: bool = False
    search: tuple[Any, ...] | None = None
    log: bool = False
    source: str = ""
    description: str = ""
    attribute: str = ""

    @property
    def valid_range(self) -> str:
        """The valid values in words, for messages and tables."""
        if self.kind == "choice":
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        if self.kind == "bool":
            return "true or false"
        if self.kind == "str":
            return "a text"
        if self.kind == "weights":
            return "one finite number >= 0 per task, not all 0"
        number = "an integer" if self.kind == "int" else "a number"
        bounds = []
        if self.low is not None:
            bounds.append(f"{'>' if self.low_open else '>='} {self.low:g}")
        if self.high is not None:
            bounds.append(f"{'<' if self.high_open else '<='} {self.high:g}")
        return " ".join([number, " and ".join(bounds)]).strip()

    def validate(self, value: Any, owner: str) -> Any:
        """Checks ``value`` and returns it in canonical form.

        Args:
            value: The value to check.
            owner: Whose setting it is, for the message.

        Returns:
            The value, with integers given for floats converted and sequences made tuples.

        Raises:
            ConfigurationError: If the value has the wrong type or is out of range.
        """
        if value is None and self.optional:
            return None
        check: Callable[[Any], Any] = {
            "float": self._number,
            "int": self._number,
            "bool": self._boolean,
            "choice": self._choice,
            "str": self._text,
            "weights": self._weights,
        }[self.kind]
        try:
            return check(value)
        except (TypeError, ValueError, OverflowError) as error:
            source = f" (source: {self.source})" if self.source else ""
            nothing = ", or nothing" if self.optional else ""
            message = (
                f"{owner}: {self.name} = {value!r} is not valid; "
                f"it must be {self.valid_range}{nothing}{source}"
            )
            raise ConfigurationError(message) from error

    def _number(self, value: Any) -> float | int:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError
        number: float | int
        number = operator.index(value) if self.kind == "int" else float(value)  # type: ignore[arg-type]
        if math.isnan(number):
            raise ValueError
        if self.low is not None and (number < self.low or (self.low_open and number == self.low)):
            raise ValueError
        if self.high is not None and (
            number > self.high or (self.high_open and number == self.high)
        ):
            raise ValueError
        return number

    def _boolean(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value

    def _choice(self, value: Any) -> Any:
        for choice in self.choices:
            if type(choice) is type(value) and choice == value:
                return choice
        raise ValueError

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError
        return value

    def _weights(self, value: Any) -> tuple[Any, ...]:
        if isinstance(value, Mapping):
            pairs = tuple((str(task), float(weight)) for task, weight in value.items())
            numbers_ = [weight for _, weight in pairs]
            canonical: tuple[Any, ...] = pairs
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
                return self._weights(dict(value))
            numbers_ = [float(weight) for weight in value]
            canonical = tuple(numbers_)
        else:
            raise TypeError
        if not numbers_ or any(not math.isfinite(w) or w < 0 for w in numbers_):
            raise ValueError
        if not any(numbers_):
            raise ValueError
        return canonical


def hyperparameter(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    low_open: bool = False,
    high_open: bool = False,
    choices: Iterable[Any] = (),
    kind: Kind | None = None,
    optional: bool = False,
    search: Sequence[Any] | None = None,
    log: bool = False,
    source: str = "",
    description: str = "",
    public_name: str = "",
) -> Any:
    """Declares one setting of a :class:`Configurable`; see :class:`HyperParameter`.

    The kind follows from ``choices`` and the type of ``default`` unless it is given. A class whose
    attribute cannot bear the setting's name gives ``public_name`` and its own ``__init__``.
    """
    choices = tuple(choices)
    if kind is None:
        if choices:
            kind = "choice"
        elif isinstance(default, bool):
            kind = "bool"
        elif isinstance(default, int):
            kind = "int"
        elif isinstance(default, str):
            kind = "str"
        else:
            kind = "float"
    declared = HyperParameter(
        name=public_name,
        kind=kind,
        default=default,
        low=low,
        high=high,
        low_open=low_open,
        high_open=high_open,
        choices=choices,
        optional=optional or default is None,
        search=None if search is None else tuple(search),
        log=log,
        source=source,
        description=description,
    )
    return dataclasses.field(default=default, metadata={_METADATA_KEY: declared})


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(hyperparameter,))
class Configurable:
    """Base of everything with declared settings (methods, problems).

    Subclasses become keyword-only dataclasses; equality and hash stay those of the object, the
    hashable configuration is :attr:`settings_key`.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        owner = self.name or type(self).__name__
        for parameter in self.hyperparameters():
            value = parameter.validate(getattr(self, parameter.attribute), owner)
            setattr(self, parameter.attribute, value)

    @classmethod
    def hyperparameters(cls) -> tuple[HyperParameter, ...]:
        """The declared settings, in order of declaration."""
        found = []
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # see __init_subclass__
            if _METADATA_KEY in field.metadata:
                declared: HyperParameter = field.metadata[_METADATA_KEY]
                name = declared.name or field.name
                found.append(dataclasses.replace(declared, name=name, attribute=field.name))
        return tuple(found)

    @classmethod
    def from_settings(cls: type[_T], settings: Mapping[str, Any]) -> _T:
        """Makes an object from a mapping of settings.

        Raises:
            UnknownNameError: If a key is no setting of this class; names the valid ones.
            ConfigurationError: If a value is not valid.
        """
        valid = [parameter.name for parameter in cls.hyperparameters()]  # type: ignore[attr-defined]
        owner = getattr(cls, "name", "") or cls.__name__
        for key in settings:
            if key not in valid:
                raise UnknownNameError(
                    f"{owner} has no hyper-parameter {key!r}{closest(key, valid)}; valid: "
                    + (", ".join(valid) or "none")
                )
        return cls(**settings)

    def settings(self) -> dict[str, Any]:
        """The current settings, plain values by name."""
        return {p.name: getattr(self, p.attribute) for p in self.hyperparameters()}

    @property
    def settings_key(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """A hashable identity of class and settings."""
        return self.name, tuple(sorted(self.settings().items()))

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self.settings().items())
        return f"{type(self).__name__}({values})"


def closest(name: str, valid: Iterable[str]) -> str:
    """A hint ``" (did you mean 'x'?)"`` for a mistyped name, or nothing."""
    match = difflib.get_close_matches(name, list(valid), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


def registry_lookup(registry: Mapping[str, _T], name: str, what: str) -> _T:
    """Looks a name up in a registry.

    Raises:
        UnknownNameError: If it is not there; names the closest and all valid names.
    """
    if name in registry:
        return registry[name]
    raise UnknownNameError(
        f"there is no {what} {name!r}{closest(name, registry)}; valid: "
        + ", ".join(sorted(registry))
    )
