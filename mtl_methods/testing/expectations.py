"""Small helpers of the checks: what a violation is, and when two results are the same."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_methods.core.method import Method
from mtl_methods.errors import ConfigurationError
from mtl_methods.testing.stage import Outcome, Stage

__all__ = [
    "ContractViolation",
    "Factory",
    "NotApplicable",
    "close",
    "expect",
    "expect_consistent",
    "fresh",
    "round_trip",
    "same_state",
    "variant",
]

Factory = Callable[[], Method]


class ContractViolation(AssertionError):  # noqa: N818  it is a failed assertion
    """A method does not keep what the contract promises."""


class NotApplicable(Exception):  # noqa: N818  it is no failure
    """A check says nothing about this method."""


def expect(condition: bool, message: str) -> None:
    """Raises :class:`ContractViolation` unless the condition holds."""
    if not condition:
        raise ContractViolation(message)


def close(one: Tensor, other: Tensor, relative: float, scale: float | None = None) -> bool:
    """Whether two tensors agree, relative to the larger one's largest entry or a given scale."""
    if one.shape != other.shape:
        return False
    if not one.numel():
        return True
    if scale is None:
        scale = max(float(one.abs().max()), float(other.abs().max()))
    return bool(((one - other).abs() <= relative * scale).all())


def fresh(factory: Factory, stage: Stage, seed: int = 0) -> Method:
    """A method made and set up for a stage under a seed."""
    torch.manual_seed(seed)
    method = factory()
    stage.setup(method)
    return method


def variant(factory: Factory, **changes: Any) -> Factory:
    """A factory of the same method with other settings.

    Raises:
        NotApplicable: If the method does not have such a setting, or is a composition.
    """
    method = factory()
    if "+" in method.name:
        raise NotApplicable("compositions have their parts' settings")
    settings = method.settings()
    for name, value in changes.items():
        if name not in settings:
            raise NotApplicable(f"{method.name} has no setting {name!r}")
        declared = next(p for p in method.hyperparameters() if p.name == name)
        if declared.choices and value not in declared.choices:
            raise NotApplicable(f"{method.name} does not offer {name}={value!r}")

    def make() -> Method:
        return type(method).from_settings({**settings, **changes})

    try:
        make()
    except ConfigurationError as error:
        raise NotApplicable(str(error)) from error
    return make


def expect_consistent(outcome: Outcome, relative: float, what: str) -> None:
    """Effective weights times raw gradients must be the shared gradient that was written."""
    expect(outcome.finite, f"{what}: a gradient that was written is not finite")
    if outcome.weights is None:
        return
    expect(
        outcome.weights.shape == (len(outcome.tasks),),
        f"{what}: weights have shape {tuple(outcome.weights.shape)}, not ({len(outcome.tasks)},)",
    )
    expect(bool(torch.isfinite(outcome.weights).all()), f"{what}: weights are not finite")
    norms = outcome.raw.norm(dim=1)
    scale = float((outcome.weights.abs() * norms).sum())
    expect(
        close(outcome.weights @ outcome.raw, outcome.written, relative, scale),
        f"{what}: weights @ gradients is not the shared gradient written "
        f"(weights {outcome.weights.tolist()})",
    )


def round_trip(state: Mapping[str, Any]) -> Any:
    """A state saved to bytes and read back without pickled code."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def same_state(one: Any, other: Any) -> bool:
    """Whether two states are equal bit by bit."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return (
            isinstance(one, Tensor)
            and isinstance(other, Tensor)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and bool(((one == other) | (one.isnan() & other.isnan())).all())
        )
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping)
            and one.keys() == other.keys()
            and all(same_state(one[key], other[key]) for key in one)
        )
    if isinstance(one, Sequence) and not isinstance(one, str):
        return (
            isinstance(other, Sequence)
            and len(one) == len(other)
            and all(same_state(a, b) for a, b in zip(one, other, strict=True))
        )
    return bool(one == other)
