"""CDTT: EDM's central direction, pulled by a tension per task."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.core.positive import loss_floor_option, numbers_above_floor
from mtl_methods.gradient_weighting.common import KeepsZeroGradients, SeesWeightedLosses
from mtl_methods.gradient_weighting.edm import central_direction

__all__ = ["CDTT"]

Array = NDArray[np.float64]


class CDTT(SeesWeightedLosses, KeepsZeroGradients):
    """Central direction with task tensioners.

    From the direction d of EDM the update is ``d + sum_k c_k (g_k - d) / |g_k - d|`` with tensions

        ``c_k = a / (1 + exp(e - e x_k)) + 1 - a``,  ``x_k = z_k(t) / z_k(t-1) + log10(l_k)``,

    where ``z_k(t)`` is the mean norm of the last ``window`` gradients of task k and e is Euler's
    number. Tension starts once a task has ``window + 1`` gradients. All terms lie in the span of
    the task gradients, so effective weights exist. The pull has a length of order 1 whatever that
    of the gradients, hence no scale law. Heads get their own gradients. A missing task keeps its
    history.

    Source: Nakamura, Grassi and Wolf, "Leveraging convergence behavior to balance conflicting
    tasks in multi-task learning" (Neurocomputing 2022); as in Proposition 5 of the uniform-loss
    paper.
    """

    name: ClassVar[str] = "cdtt"
    summary: ClassVar[str] = "CDTT: EDM's direction, pulled towards tasks that learn slowly."
    paper: ClassVar[str] = "Nakamura, Grassi and Wolf, Neurocomputing 2022"
    equation: ClassVar[str] = "d_edm + sum_k c_k (g_k - d_edm)/|g_k - d_edm|"
    scale_law: ClassVar[str] = "other"
    same_as: ClassVar[tuple[str, ...]] = ("edm", "imtl_g")  # until tension starts
    deviations: ClassVar[tuple[str, ...]] = (
        "The code sums the norms of the window where the paper averages; their ratio is the same.",
        "The code then turns an update that conflicts with a task (angle_correction=true), which "
        "the equations of the uniform-loss paper lack (the default).",
        "Published code finds EDM's direction by a loose Frank-Wolfe; here it is exact.",
    )

    alpha: float = hyperparameter(
        0.6,
        low=0.0,
        high=1.0,
        search=(0.2, 1.0),
        source="uniform-loss code: searched over 0.2 to 1",
        description="Sensitivity of the tensions; 0 makes them all 1.",
    )
    window: int = hyperparameter(
        10,
        low=1,
        source="code: 10",
        description="Gradients whose norms are averaged.",
    )
    angle_correction: bool = hyperparameter(
        False,
        source="true: published code",
        description=(
            "Whether an update at more than 90 degrees to a task gradient moves, on the line from "
            "that gradient, to its normal plane; one task after the other."
        ),
    )
    loss_floor: float = loss_floor_option()

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.state["norms"] = {}

    def _tensions(self, norms: Array, inputs: StepInputs) -> Array:
        """The c_k, 0 for tasks whose history is too short; extends the histories."""
        losses = numbers_above_floor(self.name, inputs.tasks, inputs.numbers, self.loss_floor)
        history: dict[str, list[float]] = self.state["norms"]
        tensions = np.zeros(len(norms))
        for row, (task, norm) in enumerate(zip(inputs.tasks, norms.tolist(), strict=True)):
            past = [*history.get(task, []), norm][-self.window - 1 :]
            history[task] = past
            before, now = sum(past[:-1]), sum(past[1:])
            if len(past) == self.window + 1 and before > 0.0:
                speed = now / before + math.log10(losses[row])
                gate = math.exp(min(math.e * (1.0 - speed), 700.0))
                tensions[row] = self.alpha / (1.0 + gate) + 1.0 - self.alpha
        return tensions

    def solve(self, gram: Array, inputs: StepInputs) -> Combination:
        """EDM's weights and the pull of the tensions."""
        decision = central_direction(gram, self.precision)
        tensions = self._tensions(np.sqrt(gram.diagonal()), inputs)
        assert decision.weights is not None
        centre = decision.weights
        if not centre.any() or not any(tensions.tolist()):
            return decision
        least = math.sqrt(self.precision * max(gram.diagonal().tolist()))
        find_pull = _pull_between_two if len(gram) == 2 else _pull
        weights = centre + find_pull(centre, gram, tensions, least)
        if self.angle_correction:
            weights = _without_conflict(weights, gram)
        decision.weights = weights
        return decision


def _pull(centre: Array, gram: Array, tensions: Array, least: float) -> Array:
    """Weights of ``sum_k c_k (g_k - d) / |g_k - d|``, without the tasks whose g_k is at d.

    Args:
        centre: Weights of the direction d, shape (K,).
        gram: Gram matrix, shape (K, K).
        tensions: The c_k, shape (K,).
        least: Lengths ``|g_k - d|`` up to this are rounding.

    Returns:
        Shape (K,).
    """
    ways = np.eye(len(gram)) - centre
    lengths = np.sqrt(np.maximum(((ways @ gram) * ways).sum(axis=1), 0.0))
    pulled = lengths > least
    pulls: Array = np.where(pulled, tensions / np.where(pulled, lengths, 1.0), 0.0)
    return pulls @ ways


def _pull_between_two(centre: Array, gram: Array, tensions: Array, least: float) -> Array:
    """The same for two tasks: d lies between the gradients, and each pulls along their line."""
    one, product, _, two = gram.ravel().tolist()
    apart = math.sqrt(max(one - 2.0 * product + two, 0.0))
    of_one, of_two = centre.tolist()
    first, second = tensions.tolist()
    pull = 0.0
    if of_two * apart > least:
        pull += first / apart
    if of_one * apart > least:
        pull -= second / apart
    return np.array((pull, -pull))


def _without_conflict(weights: Array, gram: Array) -> Array:
    """Moves a direction onto the normal plane of each gradient that it conflicts with."""
    for row in range(len(gram)):
        product = float(gram[row] @ weights)
        square = float(gram[row, row])
        if product < 0.0 < square:
            step = square / (square - product)
            weights = weights * step
            weights[row] += 1.0 - step
    return weights
