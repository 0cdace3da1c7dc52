"""GradVac: raises the cosine of each pair of gradients to its running mean."""

from __future__ import annotations

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
_LARGEST_GOAL = 1.0 - 1e-8  # a goal of 1 would take an infinite coefficient


class GradVac(KeepsZeroGradients):
    """Moves each task gradient towards others whose cosine with it is below what it used to be.

    For each task i, from ``v_i = g_i``, the others j are visited in random order. With
    ``c = cos(v_i, g_j)`` and the running mean ``r_ij`` of that cosine, where ``c < r_ij``,

        ``v_i <- v_i + |v_i| (r_ij sqrt(1 - c^2) - c sqrt(1 - r_ij^2)) / (|g_j| sqrt(1 - r_ij^2))
        g_j``,

    which makes the cosine ``r_ij``; then ``r_ij <- (1 - beta) r_ij + beta c``. The update is
    ``sum_i v_i``; it stays in the span of the task gradients, so the Gram matrix suffices and
    effective weights exist. The whole shared gradient is one group. Heads get their own gradients.
    The running means of a task that is missing, or has no gradient, stay.

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
        self.state["goals"] = torch.zeros(count, count, dtype=torch.float64)

    def _orders(self, inputs: StepInputs) -> NDArray[np.int64]:
        return random_orders(len(self.tasks), inputs.index, self.generator, with_self=False)

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """One pass of corrections, all tasks at once."""
        count = len(gram)
        everywhere = np.ix_(inputs.index.numpy(), inputs.index.numpy())
        stored = self.state["goals"].numpy()
        goals = stored[everywhere]
        orders = self._orders(inputs)
        rows = np.arange(count)
        visited = rows[:, None], orders
        means = goals[visited]
        goal = np.minimum(means, _LARGEST_GOAL)
        width = np.sqrt(1.0 - goal**2)
        norms = np.sqrt(gram.diagonal())
        lengths = norms[orders]
        known = (norms[:, None] > 0.0) & (lengths > 0.0)
        divisors = np.where(known, lengths * width + self.epsilon, np.inf)
        squared = lengths * lengths
        changes, cosines = np.zeros(orders.T.shape), np.zeros(orders.T.shape)
        floor = self.epsilon + _TINY
        products = gram.copy()
        squares = gram.diagonal().copy()
        passes = zip(
            np.ascontiguousarray(orders.T),
            np.ascontiguousarray(orders.T + count * rows),
            np.ascontiguousarray(goal.T),
            np.ascontiguousarray(width.T),
            np.ascontiguousarray(lengths.T),
            np.ascontiguousarray(divisors.T),
            np.ascontiguousarray(squared.T),
            changes,
            cosines,
            strict=True,
        )
        for others, places, aim, wide, length, divisor, square, change, cosine in passes:
            product = products.take(places)
            own = np.sqrt(squares)
            np.divide(product, own * length + floor, out=cosine)
            np.minimum(np.maximum(cosine, -1.0, out=cosine), 1.0, out=cosine)
            rise = own * (aim * np.sqrt(1.0 - cosine * cosine) - cosine * wide)
            np.divide(rise * (cosine < aim), divisor, out=change)
            products += change[:, None] * gram.take(others, 0)
            squares += change * (2.0 * product + change * square)
            np.maximum(squares, 0.0, out=squares)
        parts = np.eye(count)
        parts[visited] = changes.T
        goals[visited] = means + self.beta * np.where(known, cosines.T - means, 0.0)
        stored[everywhere] = goals
        return Combination(weights=parts.sum(axis=0))
