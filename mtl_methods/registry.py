"""Methods by name."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any

from mtl_methods import bilevel, gradient_weighting, loss_weighting, transforms
from mtl_methods.configuration import HyperParameter, closest, registry_lookup
from mtl_methods.core import compose as composition
from mtl_methods.core.method import Family, Method, Need
from mtl_methods.core.transform import LossTransform
from mtl_methods.errors import ConfigurationError, UnknownNameError

__all__ = [
    "MethodInfo",
    "TransformInfo",
    "compose",
    "list_methods",
    "list_transforms",
    "make_method",
    "method_info",
]

_CLASSES: dict[str, type[Method]] = {
    cls.name: cls
    for cls in (*loss_weighting.METHODS, *gradient_weighting.METHODS, *bilevel.METHODS)
}
_TRANSFORMS: dict[str, type[LossTransform]] = {cls.name: cls for cls in transforms.TRANSFORMS}
_PARTS: dict[str, type[Method] | type[LossTransform]] = {**_CLASSES, **_TRANSFORMS}


@dataclass(frozen=True)
class MethodInfo:
    """What a method declares of itself.

    Attributes:
        name: Its name.
        summary: One line.
        description: Its docstring.
        paper: Its source.
        equation: Its rule in one line.
        family: ``"loss"``, ``"gradient"``, ``"composed"`` or ``"bilevel"``.
        needs: What a caller must serve.
        backward_passes: Cost of a step.
        hyperparameters: Its hyper-parameters with ranges, defaults and sources.
        deviations: Where paper and published code disagree.
        scale_law: How effective weights answer to a common factor on all losses.
        awaits_epoch: Whether weights, at default settings, stand still until ``end_epoch`` is
            called.
    """

    name: str
    summary: str
    description: str
    paper: str
    equation: str
    family: Family
    needs: frozenset[Need]
    backward_passes: str
    hyperparameters: tuple[HyperParameter, ...]
    deviations: tuple[str, ...]
    scale_law: str
    awaits_epoch: bool = False


@dataclass(frozen=True)
class TransformInfo:
    """What a loss transform declares of itself; the attributes are those of a method."""

    name: str
    summary: str
    description: str
    paper: str
    equation: str
    hyperparameters: tuple[HyperParameter, ...]
    deviations: tuple[str, ...]


def list_methods() -> dict[str, MethodInfo]:
    """All methods by name, with what they declare."""
    return {name: method_info(name) for name in _CLASSES}


def list_transforms() -> dict[str, TransformInfo]:
    """All loss transforms by name; one or more go before any method (``"log+uw+cagrad"``)."""
    return {
        name: TransformInfo(
            name=name,
            summary=cls.summary,
            description=inspect.cleandoc(cls.__doc__ or ""),
            paper=cls.paper,
            equation=cls.equation,
            hyperparameters=cls.hyperparameters(),
            deviations=cls.deviations,
        )
        for name, cls in _TRANSFORMS.items()
    }


def compose(*parts: Method | LossTransform | str) -> Method:
    """Joins loss transforms, a loss weighting and a gradient weighting, in this order.

    ``compose("log", UW(), CAGrad(c=0.4))`` weights the logarithms of the losses by uncertainty and
    combines the gradients of the weighted log-losses by CAGrad. ``LS()`` is the identity of both
    weightings, ``Identity()`` that of transforms.

    Args:
        *parts: Methods and transforms, or their names for default settings.

    Raises:
        UnknownNameError: If there is no method and no transform of a name.
        ConfigurationError: If the parts do not go together.
    """
    made = [_look_up(part)() if isinstance(part, str) else part for part in parts]
    return composition.compose(*made)


def _look_up(name: str) -> type[Method] | type[LossTransform]:
    return registry_lookup(_PARTS, name, "method")


def method_info(name: str) -> MethodInfo:
    """What the method of a name declares; for a composition such as ``"uw+cagrad"`` of all parts.

    Hyper-parameters of a composition bear the part's name: ``cagrad.c``.

    Raises:
        UnknownNameError: If there is no such method.
        ConfigurationError: If the parts do not go together.
    """
    parts = [_look_up(part) for part in name.split("+")]
    if len(parts) > 1:
        return _composed_info(name, parts)
    cls = _alone(parts[0])
    return MethodInfo(
        name=cls.name,
        summary=cls.summary,
        description=inspect.cleandoc(cls.__doc__ or ""),
        paper=cls.paper,
        equation=cls.equation,
        family=cls.family,
        needs=cls.needs,
        backward_passes=cls.backward_passes,
        hyperparameters=cls.hyperparameters(),
        deviations=cls.deviations,
        scale_law=cls.scale_law,
        awaits_epoch=cls().awaits_epoch,
    )


def _alone(cls: type[Method] | type[LossTransform]) -> type[Method]:
    """A class that is a method by itself."""
    if issubclass(cls, LossTransform):
        raise ConfigurationError(
            f"{cls.name!r} transforms losses for another method; write {cls.name}+ls or "
            f"{cls.name}+ another method"
        )
    return cls


def _composed_info(name: str, parts: list[type[Method] | type[LossTransform]]) -> MethodInfo:
    made = composition.compose(*(cls() for cls in parts))  # refuses parts that do not fit
    return MethodInfo(
        name=name,
        summary=" Then: ".join(cls.summary for cls in parts),
        description="\n\n".join(inspect.cleandoc(cls.__doc__ or "") for cls in parts),
        paper="; ".join(cls.paper for cls in parts),
        equation=" then ".join(cls.equation for cls in parts),
        family="composed",
        needs=made.needs,
        backward_passes=made.backward_passes,
        hyperparameters=tuple(
            dataclasses.replace(p, name=f"{cls.name}.{p.name}")
            for cls in parts
            for p in cls.hyperparameters()
        ),
        deviations=tuple(d for cls in parts for d in cls.deviations),
        scale_law="other",
        awaits_epoch=made.awaits_epoch,
    )


def make_method(name: str, **hyperparameters: Any) -> Method:
    """Makes a method by name.

    Args:
        name: A name of :func:`list_methods`, or several parts joined by ``+``: names of
            :func:`list_transforms`, then a loss weighting, then a gradient weighting.
        **hyperparameters: Its hyper-parameters; for a composition each bears the part's name
            (``**{"cagrad.c": 0.4}``), or stands alone where only one part has it.

    Raises:
        UnknownNameError: If the method or a hyper-parameter does not exist.
        ConfigurationError: If a value is not valid or parts do not go together.
    """
    if not isinstance(name, str):
        raise UnknownNameError(
            f"a method is made by its name, a string such as 'fairgrad', got {name!r}"
        )
    classes = [_look_up(part) for part in name.split("+")]
    if len(classes) == 1:
        return _alone(classes[0]).from_settings(hyperparameters)
    shares: list[dict[str, Any]] = [{} for _ in classes]
    for key, value in hyperparameters.items():
        owners = [
            (share, key.removeprefix(f"{cls.name}."))
            for share, cls in zip(shares, classes, strict=True)
            if key.removeprefix(f"{cls.name}.") in {p.name for p in cls.hyperparameters()}
            and (key.startswith(f"{cls.name}.") or "." not in key)
        ]
        if len(owners) != 1:
            valid = [p.name for p in method_info(name).hyperparameters]
            problem = "belongs to several parts of" if owners else "is no hyper-parameter of"
            raise UnknownNameError(
                f"{key!r} {problem} {name}{closest(key, valid)}; valid: {', '.join(valid)}"
            )
        share, plain = owners[0]
        share[plain] = value
    made = [cls.from_settings(share) for cls, share in zip(classes, shares, strict=True)]
    return composition.compose(*made)
