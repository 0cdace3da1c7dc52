"""What several gradient weightings share: linear algebra on K x K matrices and small bases."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.core.gradient_weighting import Combination, GradientWeighting
from mtl_methods.core.gram_weighting import GramWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.errors import TaskError

__all__ = [
    "STATIONARY",
    "KeepsZeroGradients",
    "SeesWeightedLosses",
    "nothing_to_do",
    "project_to_simplex",
    "pseudo_inverse",
    "task_numbers",
    "unit_gram",
]

Array = NDArray[np.float64]

STATIONARY = "pareto_stationary"


class SeesWeightedLosses(GradientWeighting):
    """A method that uses loss values: in a composition those of the weighted losses."""

    def _step_with_coefficients(self, inputs: StepInputs, coefficients: Array | None) -> None:
        if coefficients is not None:
            weighted = np.multiply(inputs.numbers, coefficients).tolist()
            inputs = dataclasses.replace(inputs, numbers=tuple(weighted))
        super()._step_with_coefficients(inputs, coefficients)


class KeepsZeroGradients(GramWeighting):
    """A Gram method whose rule has a meaning where a task gradient is zero.

    :meth:`solve` is given all K tasks; the event ``zero_gradient`` is counted all the same, and a
    head whose task has weight 0 for that reason trains on with weight 1.
    """

    def combine(self, matrix: Tensor, gram: Array, inputs: StepInputs) -> Combination:
        """The weights of :meth:`solve`, with all tasks."""
        decision = self.solve(gram, inputs)
        absent = [t for t, square in zip(inputs.tasks, gram.diagonal(), strict=True) if not square]
        if absent:
            sentence = f"no gradient on the shared parameters from {', '.join(absent)}"
            decision.events.append(("zero_gradient", sentence))
            weights = decision.weights
            if weights is not None and decision.head_weights is None:
                silent = (gram.diagonal() == 0.0) & (weights == 0.0)
                decision.head_weights = np.where(silent, 1.0, weights)
        return decision


def nothing_to_do(count: int, sentence: str) -> Combination:
    """A zero shared update, counted as ``pareto_stationary``; heads train on with weight 1."""
    return Combination(
        weights=np.zeros(count), head_weights=np.ones(count), events=[(STATIONARY, sentence)]
    )


def unit_gram(gram: Array) -> tuple[Array, Array]:
    """Norms of gradients and the Gram matrix of the unit gradients.

    Args:
        gram: Gram matrix, shape (K, K).

    Returns:
        Norms, shape (K,), and cosines, shape (K, K); rows of zero gradients are zero.
    """
    if len(gram) == 2:
        first, product, _, second = gram.ravel().tolist()
        one, two = math.sqrt(first), math.sqrt(second)
        cosine = min(max(product / one / two, -1.0), 1.0) if one and two else 0.0
        pair = ((float(one > 0.0), cosine), (cosine, float(two > 0.0)))
        return np.array((one, two)), np.array(pair)
    norms = np.sqrt(gram.diagonal())
    safe = np.where(norms > 0.0, norms, 1.0)
    cosines: Array = np.minimum(np.maximum(gram / safe[:, None] / safe, -1.0), 1.0)
    cosines.flat[:: len(cosines) + 1] = norms > 0.0
    return norms, cosines


def pseudo_inverse(matrix: Array, tolerance: float) -> Array:
    """Pseudo-inverse of a symmetric positive semi-definite matrix.

    Args:
        matrix: Shape (K, K).
        tolerance: Eigenvalues up to this fraction of the largest count as zero.

    Returns:
        Shape (K, K).
    """
    values, vectors = np.linalg.eigh(matrix)
    kept = values > tolerance * max(values[-1], 0.0)
    vectors = vectors[:, kept]
    result: Array = (vectors / values[kept]) @ vectors.T
    return result


def project_to_simplex(point: Array, total: float = 1.0) -> Array:
    """The nearest point of ``{w >= 0, sum w = total}``, by sorting (exact).

    Args:
        point: Shape (K,).
        total: The sum, positive.

    Returns:
        Shape (K,).
    """
    point = point - point.max()  # the nearest point is the same, and huge numbers keep the total
    ordered = np.sort(point)[::-1]
    excess = (np.cumsum(ordered) - total) / np.arange(1, len(point) + 1)
    last = np.flatnonzero(ordered > excess)[-1]
    projected: Array = np.maximum(point - excess[last], 0.0)
    return projected


def task_numbers(owner: str, what: str, given: Any, tasks: Sequence[str], default: float) -> Array:
    """A number per task from a setting of kind ``"weights"``.

    Args:
        owner: Name of the method, for messages.
        what: Name of the setting, for messages.
        given: ``None``, pairs of task and number, or numbers in task order.
        tasks: The K tasks.
        default: Everyone's number if none is given.

    Returns:
        Shape (K,).

    Raises:
        TaskError: If the tasks do not fit.
    """
    if given is None:
        return np.full(len(tasks), default)
    if isinstance(given[0], tuple):
        named = dict(given)
        if set(named) != set(tasks):
            raise TaskError(
                f"{owner}: {what} is given for {', '.join(named)}, the tasks are {', '.join(tasks)}"
            )
        return np.array([named[task] for task in tasks])
    if len(given) != len(tasks):
        raise TaskError(
            f"{owner}: {what} has {len(given)} numbers for {len(tasks)} tasks ({', '.join(tasks)})"
        )
    return np.array(given, dtype=np.float64)
