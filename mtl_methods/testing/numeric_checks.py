"""What numbers must not do: degenerate gradients, precision, loss scaling, scale laws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mtl_methods.core.method import Need
from mtl_methods.errors import FairsweepError, NonFiniteGradientError
from mtl_methods.testing.expectations import (
    ContractViolation,
    Factory,
    NotApplicable,
    close,
    expect,
    expect_consistent,
    fresh,
)
from mtl_methods.testing.stage import matrix_stage, network_stage

__all__ = [
    "DEGENERATE",
    "check_autocast",
    "check_degenerate_gradients",
    "check_grad_scale",
    "check_overflow",
    "check_precision",
    "check_scale_law",
]


def _degenerate() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    base, direction = normal(3, 5), normal(1, 5)
    plane = normal(2, 5)
    return {
        "all zero": torch.zeros(3, 5, dtype=torch.float64),
        "one zero": torch.cat([base[:2], torch.zeros(1, 5, dtype=torch.float64)]),
        "all 1e-12": 1e-12 * base,
        "all 1e12": 1e12 * base,
        "1e-6 to 1e6": torch.tensor([[1e-6], [1.0], [1e6]], dtype=torch.float64) * base,
        "equal": direction.repeat(3, 1),
        "collinear": torch.tensor([[1.0], [2.0], [0.5]], dtype=torch.float64) * direction,
        "nearly collinear": direction + 1e-7 * base,
        "rank 2 of 4": normal(4, 2) @ plane,
        "opposing pair": torch.cat([direction, -direction]),
        "opposing and unequal": torch.cat([direction, -3.0 * direction, base[:1]]),
        "zero in the hull": torch.cat([base[:2], -base[:2].sum(0, keepdim=True)]),
        "nearly opposing": torch.cat([direction, -direction + 1e-5 * base[:1]]),
    }


DEGENERATE: dict[str, Tensor] = _degenerate()
"""Task gradients as rows, by what is wrong with them."""


def check_degenerate_gradients(factory: Factory) -> None:
    """Finite and consistent gradients, or an error of ours and nothing written."""
    for what, gradients in DEGENERATE.items():
        for dtype in (torch.float64, torch.float32):
            stage = matrix_stage(gradients, dtype=dtype)
            method = fresh(factory, stage)
            try:
                outcome = stage.step(method, update=False)
            except FairsweepError:
                untouched = all(p.grad is None for p in stage.parameters.values())
                expect(untouched, f"gradients {what}: an error, but gradients were written")
                continue
            tolerance = 1e-9 if dtype == torch.float64 else 1e-5
            expect_consistent(outcome, tolerance, f"gradients {what} in {dtype}")


def check_precision(factory: Factory) -> None:
    """float32 gives what float64 gives, in float32."""
    results: dict[torch.dtype, Any] = {}
    for dtype in (torch.float64, torch.float32):
        stage = network_stage(3, dtype=dtype)
        method = fresh(factory, stage)
        results[dtype] = stage.run(method, 1)[0]
        expect_consistent(results[dtype], 1e-9 if dtype == torch.float64 else 1e-5, str(dtype))
        for parameter in (*stage.parameters.values(), *method.parameters()):
            if parameter.grad is not None:
                expect(parameter.grad.dtype == parameter.dtype, "a .grad has the wrong type")
        if method.weights is not None:
            expect(method.weights.dtype == dtype, f"weights of {dtype} losses have another type")
    wide, narrow = results[torch.float64], results[torch.float32]
    if wide.weights is not None and narrow.weights is not None and not _draws(factory):
        expect(
            close(wide.weights, narrow.weights, 1e-3), "weights in float32 are not those in float64"
        )


def _draws(factory: Factory) -> bool:
    """Whether a method draws random numbers in a step."""
    stage = network_stage(3)
    method = fresh(factory, stage)
    before = _generators(method.state_dict())
    stage.step(method)
    after = _generators(method.state_dict())
    return any(not bool(torch.equal(a, b)) for a, b in zip(before, after, strict=True))


def _generators(state: Any) -> list[Tensor]:
    """The states of all random generators in a state."""
    if not isinstance(state, Mapping):
        return []
    found = [state["generator"]] if "generator" in state else []
    for value in state.values():
        found += _generators(value)
    return found


def check_autocast(factory: Factory) -> None:
    """Under bfloat16 autocast everything stays finite and consistent."""
    stage = network_stage(3, dtype=torch.float32)
    method = fresh(factory, stage)
    for outcome in stage.each_step(method, 3, autocast=torch.bfloat16):
        expect_consistent(outcome, 0.05, "bfloat16 autocast")


def check_grad_scale(factory: Factory) -> None:
    """``grad_scale`` multiplies what is written and nothing else."""
    scale = 1024.0
    first, second = network_stage(3), network_stage(3)
    plain = first.run(fresh(factory, first), 4)
    scaled = second.run(fresh(factory, second), 4, grad_scale=scale)
    for one, other in zip(plain, scaled, strict=True):
        expect(close(one.written * scale, other.written, 1e-6), "the shared gradient is not scaled")
        for task in one.tasks:
            expect(
                close(one.heads[task][1] * scale, other.heads[task][1], 1e-6),
                "the gradient of a head is not scaled",
            )
        expect(len(one.own) == len(other.own), "own gradients exist only with or without a scale")
        for a, b in zip(one.own, other.own, strict=True):
            expect(close(a * scale, b, 1e-6), "the gradient of an own parameter is not scaled")
        if one.weights is not None and other.weights is not None:
            expect(close(one.weights, other.weights, 1e-6), "grad_scale changes the weights")


class _Overflow(torch.autograd.Function):
    """A finite value whose gradient is infinite."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * float("inf")


def _overflowing(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    first = next(iter(losses))
    overflowing: Tensor = _Overflow.apply(losses[first])  # type: ignore[no-untyped-call]
    return {**losses, first: overflowing}


def check_overflow(factory: Factory) -> None:
    """An infinite gradient: the scaler sees it and skips the step; without a scaler an error.

    Methods that never look at gradients write it, as ``loss.backward()`` would.
    """
    if Need.VALIDATION_BATCH in factory().needs:
        raise NotApplicable("the method differentiates its own evaluations of the model")
    stage = network_stage(3)
    method = fresh(factory, stage)
    stage.run(method, 2)
    outcome = stage.step(method, grad_scale=2.0**16, update=False, prepare=_overflowing)
    expect(not outcome.finite, "an overflow is hidden from the gradient scaler")
    for later in stage.each_step(method, 2):
        expect_consistent(later, 1e-9, "after a step that was skipped")
    try:
        stage.step(method, update=False, prepare=_overflowing)
    except NonFiniteGradientError as error:
        expect(error.task == stage.tasks[0], f"the error names {error.task}")
        untouched = all(p.grad is None for p in stage.parameters.values())
        expect(untouched, "an infinite gradient: an error, but gradients were written")
        return
    if factory().needs & {Need.GRAM, Need.GRADIENTS}:
        raise ContractViolation("an infinite task gradient must be a NonFiniteGradientError")


def check_scale_law(factory: Factory) -> None:
    """All losses times s: weights times ``s ** scale_exponent``."""
    exponent = factory().scale_exponent
    if exponent is None:
        raise NotApplicable("the method declares no scale law")
    for s in (1e-3, 100.0):
        first, second = network_stage(3), network_stage(3)
        plain = first.run(fresh(factory, first), 3, update=False)
        scaled = second.run(fresh(factory, second), 3, update=False, factor=s)
        for one, other in zip(plain, scaled, strict=True):
            if one.weights is not None and other.weights is not None:
                same = close(one.weights * s**exponent, other.weights, 1e-5)
            else:
                same = close(one.written * s ** (1.0 + exponent), other.written, 1e-5)
            expect(same, f"losses times {s:g}: weights are not times s**{exponent:g}")
