"""Methods by name."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any

from mtl_methods import gradient_weighting, loss_weighting
from mtl_methods.configuration import HyperParameter, closest, registry_lookup
from mtl_methods.core.compose import compose
from mtl_methods.core.method import Family, Method, Need
from mtl_methods.errors import UnknownNameError

__all__ = ["MethodInfo", "list_methods", "make_method", "method_info"]

_CLASSES: dict[str, type[Method]] = {
    cls.name: cls for cls in (*loss_weighting.METHODS, *gradient_weighting.METHODS)
}


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


def list_methods() -> dict[str, MethodInfo]:
    """All methods by name, with what they declare."""
    return {name: method_info(name) for name in _CLASSES}


def method_info(name: str) -> MethodInfo:
    """What the method of a name declares; for a composition such as ``"uw+cagrad"`` of both parts.

    Hyper-parameters of a composition bear the part's name: ``cagrad.c``.

    Raises:
        UnknownNameError: If there is no such method.
    """
    parts = [registry_lookup(_CLASSES, part, "method") for part in name.split("+")]
    if len(parts) > 1:
        return _composed_info(name, parts)
    cls = parts[0]
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
    )


def _composed_info(name: str, parts: list[type[Method]]) -> MethodInfo:
    compose(*(cls() for cls in parts))  # refuses parts that do not go together
    return MethodInfo(
        name=name,
        summary=" Then: ".join(cls.summary for cls in parts),
        description="\n\n".join(inspect.cleandoc(cls.__doc__ or "") for cls in parts),
        paper="; ".join(cls.paper for cls in parts),
        equation=" then ".join(cls.equation for cls in parts),
        family="composed",
        needs=frozenset().union(*(cls.needs for cls in parts)),
        backward_passes=parts[-1].backward_passes,
        hyperparameters=tuple(
            dataclasses.replace(p, name=f"{cls.name}.{p.name}")
            for cls in parts
            for p in cls.hyperparameters()
        ),
        deviations=tuple(d for cls in parts for d in cls.deviations),
        scale_law="other",
    )


def make_method(name: str, **hyperparameters: Any) -> Method:
    """Makes a method by name.

    Args:
        name: A name of :func:`list_methods`, or two joined by ``+``: a loss weighting, then a
            gradient weighting.
        **hyperparameters: Its hyper-parameters; for a composition each bears the part's name
            (``**{"cagrad.c": 0.4}``), or stands alone where only one part has it.

    Raises:
        UnknownNameError: If the method or a hyper-parameter does not exist.
        ConfigurationError: If a value is not valid.
    """
    classes = [registry_lookup(_CLASSES, part, "method") for part in name.split("+")]
    if len(classes) == 1:
        return classes[0].from_settings(hyperparameters)
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
            problem = "belongs to both parts of" if owners else "is no hyper-parameter of"
            raise UnknownNameError(
                f"{key!r} {problem} {name}{closest(key, valid)}; valid: {', '.join(valid)}"
            )
        share, plain = owners[0]
        share[plain] = value
    return compose(*(cls.from_settings(share) for cls, share in zip(classes, shares, strict=True)))
