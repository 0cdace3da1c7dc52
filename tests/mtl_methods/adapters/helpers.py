"""Putting gradients and losses of a case to a method, and comparing what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mtl_methods import Method
from mtl_methods.testing import Outcome, matrix_stage

__all__ = [
    "array",
    "assert_close",
    "gradient_step",
    "gram_of",
    "loss_step",
    "params_of",
    "relative_difference",
    "relative_residual",
]


def array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().numpy()
    return np.asarray(values, dtype=np.float64)


def params_of(case: dict[str, Any], *names: str) -> list[Any]:
    return [case["params"][name] for name in names]


def gram_of(gradients: Any) -> np.ndarray:
    matrix = array(gradients)
    return matrix @ matrix.T


def gradient_step(method: Method, gradients: Any, losses: Sequence[float] | None = None) -> Outcome:
    """One step on task gradients (rows) and losses, all needs served; tasks task_0, task_1, ..."""
    stage = matrix_stage(gradients, losses)
    return stage.step(method, update=False)


def loss_step(method: Method, losses: Sequence[float]) -> Outcome:
    """One step on losses alone, without after_step or end_epoch; unit gradients."""
    count = len(losses)
    theta = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    named = {f"task_{k}": value + theta[k] for k, value in enumerate(losses)}
    for parameter in method.parameters() if method.tasks else []:
        parameter.grad = None
    method.backward(named, [theta])
    assert method.weights is not None
    assert theta.grad is not None
    return Outcome(
        tasks=tuple(named),
        raw=torch.eye(count, dtype=torch.float64),
        written=theta.grad.clone(),
        weights=method.weights,
        heads={},
        own=[p.grad.clone() for p in method.parameters() if p.grad is not None],
        scales=torch.ones(count, dtype=torch.float64),
    )


def relative_residual(gram: np.ndarray, weights: Any, p: float) -> float:
    """How far weights are from ``G w = w ** (-p)``, relative to each entry."""
    w = array(weights)
    return float(np.max(np.abs((gram @ w) * w**p - 1.0)))


def relative_difference(one: Any, other: Any) -> float:
    """Largest difference relative to the largest entry of the second."""
    a, b = array(one), array(other)
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-300))


def assert_close(
    actual: Any, expected: Any, case: dict[str, Any], what: str, *, rtol: float | None = None
) -> None:
    """Entry by entry within the case's tolerance."""
    np.testing.assert_allclose(
        array(actual),
        array(expected),
        rtol=case["tolerance"]["rtol"] if rtol is None else rtol,
        atol=case["tolerance"]["atol"],
        err_msg=f"{case['id']}: {what}",
    )
