"""Random loss weighting: new random weights in every step."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs

__all__ = ["DISTRIBUTIONS", "RLW", "draw_weights", "normalise_draw", "sample_draw"]

DISTRIBUTIONS = ("normal", "uniform", "dirichlet", "bernoulli", "constrained_bernoulli")


def sample_draw(distribution: str, count: int, generator: torch.Generator) -> Tensor:
    """One raw draw ``lambda~``, before normalisation.

    Args:
        distribution: One of ``DISTRIBUTIONS``. ``"dirichlet"`` draws the gamma(1, 1) variables
            whose normalisation is Dirichlet(1); ``"constrained_bernoulli"`` draws the uniform
            variables whose arg max is the one chosen task.
        count: Number of tasks K.
        generator: Source of randomness.

    Returns:
        Shape (K,), float64.
    """
    draw = torch.empty(count, dtype=torch.float64, device="cpu")
    if distribution == "normal":
        return draw.normal_(generator=generator)
    if distribution == "dirichlet":
        return draw.exponential_(generator=generator)
    draw.uniform_(generator=generator)
    return (draw < 0.5).to(torch.float64) if distribution == "bernoulli" else draw


def normalise_draw(distribution: str, draw: Tensor) -> Tensor:
    """Maps a raw draw to the simplex, by the function that the paper pairs with its distribution.

    Softmax for normal and uniform draws, division by the sum for the others.

    Args:
        distribution: One of ``DISTRIBUTIONS``.
        draw: Shape (K,); not all zero.

    Returns:
        Shape (K,), non-negative, of sum 1.
    """
    if distribution in ("normal", "uniform"):
        return torch.softmax(draw, dim=0)
    if distribution == "constrained_bernoulli":
        return torch.nn.functional.one_hot(draw.argmax(), len(draw)).to(draw.dtype)
    return draw / draw.sum()


def draw_weights(
    distribution: str, count: int, index: Tensor, generator: torch.Generator
) -> Tensor:
    """Random weights of the tasks of a batch, of sum 1.

    All ``count`` tasks are drawn for, in their fixed order, so that the randomness of a task does
    not depend on which others are in the batch; the present ones are normalised. A Bernoulli draw
    that leaves no task is drawn again, which keeps the mean at equal weights.

    Args:
        distribution: One of ``DISTRIBUTIONS``.
        count: Number of all tasks.
        index: Positions of the tasks of the batch, shape (K,).
        generator: Source of randomness.

    Returns:
        Shape (K,), float64.
    """
    draw = sample_draw(distribution, count, generator)[index]
    while distribution == "bernoulli" and not bool(draw.any()):
        draw = sample_draw(distribution, count, generator)[index]
    return normalise_draw(distribution, draw)


class RLW(LossWeighting):
    """Minimises ``sum_k w_k l_k`` with weights drawn anew in every step.

    Raw numbers are drawn from ``distribution`` and mapped to the simplex: standard normal and
    uniform(0, 1) by softmax; Dirichlet(1), which lies there already; Bernoulli(1/2), and Bernoulli
    under the constraint that exactly one task is chosen, by division by their sum. Every
    distribution has mean weight 1/K. Draws come from the method's own generator.

    Source: Lin et al., "Reasonable Effectiveness of Random Weighting" (TMLR 2022), Algorithm 1
    and section 5.4.
    """

    name: ClassVar[str] = "rlw"
    summary: ClassVar[str] = "Random loss weighting: new random weights in every step."
    paper: ClassVar[str] = "Lin et al., TMLR 2022, Algorithm 1"
    equation: ClassVar[str] = "min sum_k w_k l_k, w = f(draw), E[w_k] = 1/K"
    scale_law: ClassVar[str] = "invariant"
    permutation_equivariant: ClassVar[bool] = False
    deviations: ClassVar[tuple[str, ...]] = (
        "The paper, LibMTL and the Nash-MTL family have weights of sum 1 (the default); the code "
        "of the uniform-loss paper rescales them to sum K (weight_sum='tasks').",
        "Published code draws from the global generator and only from some of the distributions.",
        "The paper leaves open what an all-zero Bernoulli draw means; here it is drawn again.",
    )

    distribution: str = hyperparameter(
        "normal",
        choices=DISTRIBUTIONS,
        search=DISTRIBUTIONS,
        source="section 5.4; normal is the paper's choice",
        description="Where the raw weights are drawn from.",
    )
    weight_sum: str = hyperparameter(
        "one",
        choices=("one", "tasks"),
        source="one: the paper; tasks: code of the uniform-loss paper",
        description="What the weights of a batch sum to: 1, or its number of tasks.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: losses play no part."""
        return 0.0

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """New random weights, K numbers."""
        weights = draw_weights(self.distribution, len(self.tasks), inputs.index, self.generator)
        numbers: list[float] = weights.tolist()
        return [len(numbers) * w for w in numbers] if self.weight_sum == "tasks" else numbers
