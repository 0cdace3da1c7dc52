"""What a method must say of itself, and that no two methods are one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from mtl_methods.testing.expectations import (
    ContractViolation,
    Factory,
    NotApplicable,
    close,
    expect,
    fresh,
)
from mtl_methods.testing.stage import network_stage

__all__ = ["check_declarations", "coinciding"]


def check_declarations(factory: Factory) -> None:
    """Summary, paper, equation, cost; source, range and description of every setting."""
    method = factory()
    cls = type(method)
    if "+" in method.name:
        raise NotApplicable("a composition declares what its parts declare")
    for attribute in ("name", "summary", "paper", "equation", "backward_passes", "scale_law"):
        expect(bool(getattr(cls, attribute)), f"{cls.__name__}.{attribute} is empty")
    expect("Source:" in (cls.__doc__ or ""), f"the docstring of {cls.__name__} names no source")
    expect(cls.family in ("loss", "gradient", "bilevel"), f"unknown family {cls.family!r}")
    for parameter in cls.hyperparameters():
        where = f"{cls.name}: {parameter.name}"
        expect(bool(parameter.source), f"{where} has no source")
        expect(bool(parameter.description), f"{where} has no description")
        parameter.validate(parameter.default, cls.name)
        for value in parameter.search or ():
            parameter.validate(value, cls.name)
        if parameter.log:
            lowest = (parameter.search or (1.0,))[0]
            expect(lowest > 0.0, f"{where} cannot be searched on a log scale from {lowest}")
    hash(method.settings_key)
    again = cls.from_settings(method.settings())
    expect(again.settings_key == method.settings_key, "settings do not survive from_settings")


def _trajectory(factory: Factory) -> Tensor:
    stage = network_stage(3)
    return torch.cat([outcome.written for outcome in stage.each_step(fresh(factory, stage), 4)])


def coinciding(methods: Mapping[str, Factory]) -> list[tuple[str, str]]:
    """Pairs of methods that take the same steps on generic input without declaring it.

    Args:
        methods: Factories by name.

    Raises:
        ContractViolation: If a method names itself or an unknown one in ``same_as``.
    """
    declared = {name: factory().same_as for name, factory in methods.items()}
    for name, others in declared.items():
        if name in others:
            raise ContractViolation(f"{name} declares to coincide with itself")
    runs = {name: _trajectory(factory) for name, factory in methods.items()}
    return [
        (a, b)
        for a, b in combinations(runs, 2)
        if close(runs[a], runs[b], 1e-6) and b not in declared[a] and a not in declared[b]
    ]
