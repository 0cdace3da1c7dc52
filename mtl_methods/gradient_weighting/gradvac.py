"""GradVac: raises the cosine of each pair of gradients to its running mean."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.common import KeepsZeroGradients
from mtl_methods.gradient_weighting.pcgrad import random_orders

__all__ = ["GradVac"]

_TINY = 1e-300  # keeps a quotient of zeros at zero
_LARGEST_GOAL = 1.0 - 1e-8  # a goal of 1 would take an infinite coefficient, of -1 is none


class GradVac(KeepsZeroGradients):
    """Moves each task gradient towards others whose cosine with it is below what it used to be.

    For each task i, from ``v_i = g_i``, the others j are visited in random order. With
    ``c = cos(v_i, g_j)`` and the running mean ``r_ij`` of that cosine, where ``c < r_ij``,

        ``v_i <- v_i + |v_i| (r_ij sqrt(1 - c^2) - c sqrt(1 - r_ij^2)) / (|g_j| sqrt(1 - r_ij^2))
        g_j``,

    which makes the cosine ``r_ij`` (at most ``1 - 1e-8``: 1 would take an infinite length); then
    ``r_ij <- (1 - beta) r_ij + beta c``. The update is ``sum_i v_i``; it stays in the span of the
    task gradients, so the Gram matrix suffices and effective weights exist. The whole shared
    gradient is one group. Heads get their own gradients. The running means of a task that is
    missing, or has no gradient, stay.

    Source: Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task Optimization in
    Massively Multilingual Models" (ICLR 2021), Algorithm 1 and Equation 4.
    """

    name: ClassVar[str] = "gradvac"
    summary: ClassVar[str] = "GradVac: keeps gradient cosines at their running means."
    paper: ClassVar[str] = "Wang et al., ICLR 2021, Algorithm 1"
    equation: ClassVar[str] = "v_i += a g_j with cos(v_i, g_j) = r_ij where it was below; d = sum v"
    scale_law: ClassVar[str] = "invariant"
    permutation_equivariant: ClassVar[bool] = False
    deviations: ClassVar[tuple[str, ...]] = (
        "LibMTL has beta = 0.5 by default, the paper 0.01 (the default).",
        "The paper also tries one group per layer or matrix; only the whole model is offered, "
        "since groups have no effective weight.",
        "LibMTL adds 1e-8 to denominators, which shows for small gradients (epsilon=1e-8).",
    )

    beta: float = hyperparameter(
        0.01,
        low=0.0,
        high=1.0,
        search=(1e-3, 0.5),
        log=True,
        source="section 4.2: 0.01; LibMTL: 0.5",
        description="Weight of the newest cosine in the running mean.",
    )

    epsilon: float = hyperparameter(
        0.0,
        low=0.0,
        source="0: Equation 4; 1e-8: LibMTL",
        description="Added to denominators.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: weights do not depend on the scale of the losses."""
        return None if self.epsilon else 0.0

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        count = len(self.tasks)
        self.state["goals"] = torch.zeros(count, count, dtype=torch.float64, device="cpu")

    def _orders(self, inputs: StepInputs) -> NDArray[np.int64]:
        return random_orders(len(self.tasks), inputs.index, self.generator, with_self=False)

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """One pass of corrections, all tasks at once, in units of the tasks' norms.

        There ``parts`` are the coefficients of each ``v_i / |g_i|`` on the ``g_j / |g_j|``,
        ``squares`` is ``|v_i|^2 / |g_i|^2``, ``product`` ``<v_i, g_j> / (|g_i| |g_j|)``, and the
        coefficient of Equation 4 is positive where the cosine is below its goal.
        """
        count = len(gram)
        stored = self.state["goals"].numpy()
        if len(self.tasks) == count == 2:
            weights, stored[...] = _between_two(gram, stored, self.beta, self.epsilon)
            return Combination(weights=weights)
        everywhere = (
            np.ix_(inputs.index.numpy(), inputs.index.numpy()) if count < len(stored) else ...
        )
        goals = stored[everywhere]
        orders = self._orders(inputs)
        rows = np.arange(count)
        visited = rows[:, None], orders
        means = goals[visited]
        goal = np.minimum(np.maximum(means, -_LARGEST_GOAL), _LARGEST_GOAL)
        width = np.sqrt(1.0 - goal * goal)
        norms = np.sqrt(gram.diagonal())
        inverse = np.divide(1.0, norms, out=np.zeros(count), where=norms > 0.0)
        units = inverse[orders]
        known = (norms[:, None] > 0.0) & (units > 0.0)
        reach = (known & (means > -_LARGEST_GOAL)) / (width + self.epsilon * units)
        with np.errstate(over="ignore"):  # beside infinity a cosine is 0
            floors = self.epsilon * units * inverse[:, None] + _TINY
        cosines = np.zeros(orders.T.shape)
        unit = gram * inverse * inverse[:, None]
        parts = np.eye(count)
        squares = unit.diagonal()
        nothing, one = np.zeros(count), np.ones(count)  # numbers would be made arrays each time
        passes = zip(
            np.ascontiguousarray(orders.T),
            np.ascontiguousarray(orders.T + count * rows),
            np.ascontiguousarray((goal * reach).T),
            np.ascontiguousarray((width * reach).T),
            np.ascontiguousarray(floors.T),
            cosines,
            strict=True,
        )
        for others, places, across, along, floor, cosine in passes:
            product = np.vecdot(parts, unit.take(others, 0))
            own = np.sqrt(squares)
            np.divide(product, own + floor, out=cosine)
            sine = np.sqrt(np.maximum(one - cosine * cosine, nothing))
            change = own * np.maximum(across * sine - along * cosine, nothing)
            parts.put(places, change)
            squares = np.maximum(squares + change * (product + product + change), nothing)
        seen = np.minimum(np.maximum(cosines.T, -1.0), 1.0)  # beyond it is rounding
        parts *= norms[:, None] * inverse
        parts[rows, rows] = 1.0
        goals[visited] = means + self.beta * np.where(known, seen - means, 0.0)
        stored[everywhere] = goals
        return Combination(weights=parts.sum(axis=0))


def _between_two(
    gram: NDArray[np.float64], goals: NDArray[np.float64], beta: float, epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pass of two tasks, which have one order, in plain numbers.

    Args:
        gram: Gram matrix, shape (2, 2).
        goals: Running means of the cosines, shape (2, 2).
        beta: Weight of the newest cosine.
        epsilon: What is added to denominators.

    Returns:
        Weights, shape (2,), and the new running means, shape (2, 2).
    """
    first, product, _, second = gram.ravel().tolist()
    one, two = math.sqrt(first), math.sqrt(second)
    means = goals.tolist()
    if not (one and two):
        return np.ones(2), goals
    cosine = product / one / two / (1.0 + epsilon / one / two)
    sine = math.sqrt(max(1.0 - cosine * cosine, 0.0))
    seen = min(max(cosine, -1.0), 1.0)  # beyond it is rounding
    changes = []
    for own, other, length, against in ((0, 1, one, two), (1, 0, two, one)):
        mean = means[own][other]
        goal = min(max(mean, -_LARGEST_GOAL), _LARGEST_GOAL)
        width = math.sqrt(1.0 - goal * goal)
        change = max(goal * sine - width * cosine, 0.0) / (width + epsilon / against)
        changes.append(change * length / against if mean > -_LARGEST_GOAL else 0.0)
        means[own][other] = mean + beta * (seen - mean)
    return np.array((1.0 + changes[1], 1.0 + changes[0])), np.array(means)
