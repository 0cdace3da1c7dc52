"""PCGrad: projects conflicting gradients onto each other's normal planes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.common import KeepsZeroGradients

__all__ = ["PCGrad", "random_orders"]


def random_orders(
    count: int, index: torch.Tensor, generator: torch.Generator, *, with_self: bool
) -> NDArray[np.int64]:
    """For each task an independent random order of the (other) tasks.

    Drawn for all tasks, so that the order of two tasks does not depend on which third ones are in
    the batch.

    Args:
        count: Number of all tasks.
        index: Positions of the K present tasks, shape (K,).
        generator: Source of randomness.
        with_self: Whether a task's own position is in its order.

    Returns:
        Shape (K, K) with, else (K, K - 1), positions among the present tasks.
    """
    keys = torch.rand(count, count, dtype=torch.float64, generator=generator, device="cpu")
    present = (keys if len(index) == count else keys[index][:, index]).numpy()
    if with_self:
        return np.argsort(present, axis=1)
    np.fill_diagonal(present, np.inf)
    return np.argsort(present, axis=1)[:, :-1]


class PCGrad(KeepsZeroGradients):
    """Removes from each task gradient its conflicts with the others, one after the other.

    For each task i, starting from ``v_i = g_i``, the other tasks j are visited in random order;
    where ``<v_i, g_j> < 0``, ``v_i <- v_i - <v_i, g_j> / |g_j|^2 g_j``. The update is
    ``sum_i v_i``. Every ``v_i`` is a combination of task gradients, so all of it happens on the
    Gram matrix, for all i at once, and effective weights exist. Heads get their own gradients
    (Algorithm 1 changes the gradients of shared parameters only). A zero gradient conflicts with
    none.

    Source: Yu et al., "Gradient Surgery for Multi-Task Learning" (NeurIPS 2020), Algorithm 1.
    """

    name: ClassVar[str] = "pcgrad"
    summary: ClassVar[str] = "PCGrad: projects conflicting gradients onto normal planes."
    paper: ClassVar[str] = "Yu et al., NeurIPS 2020, Algorithm 1"
    equation: ClassVar[str] = "v_i -= <v_i, g_j> / |g_j|^2 g_j if < 0, j random; d = sum_i v_i"
    scale_law: ClassVar[str] = "invariant"
    permutation_equivariant: ClassVar[bool] = False
    deviations: ClassVar[tuple[str, ...]] = (
        "The original sums the projected gradients (the default); section 8.2 of the PIVRG "
        "supplement averages them (reduction='mean').",
        "The code of Nash-MTL and LibMTL also lets a task visit itself, which matters once earlier "
        "projections have turned it by more than 90 degrees (self_visit=True).",
        "LibMTL adds 1e-8 to |g_j|^2, which shows for small gradients (epsilon=1e-8).",
        "Nash-MTL draws orders from Python's global generator; here from the method's own.",
    )

    reduction: str = hyperparameter(
        "sum",
        choices=("sum", "mean"),
        source="sum: Algorithm 1; mean: PIVRG supplement, section 8.2",
        description="How the projected gradients are joined.",
    )
    self_visit: bool = hyperparameter(
        False,
        source="false: Algorithm 1; true: code of Nash-MTL and LibMTL",
        description="Whether a task's own gradient is among those that it is projected against.",
    )

    epsilon: float = hyperparameter(
        0.0,
        low=0.0,
        source="0: Algorithm 1; 1e-8: LibMTL",
        description="Added to the squared norms that are divided by.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: weights do not depend on the scale of the losses."""
        return None if self.epsilon else 0.0

    def _orders(self, inputs: StepInputs) -> NDArray[np.int64]:
        return random_orders(
            len(self.tasks), inputs.index, self.generator, with_self=self.self_visit
        )

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """One pass of projections, all tasks at once; step t visits each task's t-th other one."""
        count = len(gram)
        if len(self.tasks) == count == 2 and not self.self_visit:
            return Combination(weights=self._between_two(gram))
        orders = self._orders(inputs)
        rows = np.arange(count)
        products = gram.copy()
        # No gradient conflicts with a zero one: divided by infinity, rounding has no say.
        divisors = np.where(gram.diagonal() > 0.0, gram.diagonal() + self.epsilon, np.inf)
        squares = divisors[orders.T]
        changes = np.zeros(squares.shape)
        visits = np.ascontiguousarray(orders.T)
        places = visits + count * rows
        for others, place, square, change in zip(visits, places, squares, changes, strict=True):
            conflict = np.minimum(products.take(place), 0.0)
            if conflict.any():
                np.divide(conflict, square, out=change)
                products -= change[:, None] * gram.take(others, 0)
        parts = np.eye(count)
        parts[rows[:, None], orders] -= changes.T
        weights = parts.sum(axis=0)
        return Combination(weights=weights / count if self.reduction == "mean" else weights)

    def _between_two(self, gram: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weights of two tasks, which have one order, in plain numbers, shape (2,)."""
        first, product, _, second = gram.ravel().tolist()
        one = two = 1.0
        if product < 0.0 and first > 0.0 and second > 0.0:
            one -= product / (first + self.epsilon)
            two -= product / (second + self.epsilon)
        share = 0.5 if self.reduction == "mean" else 1.0
        return np.array((share * one, share * two))
