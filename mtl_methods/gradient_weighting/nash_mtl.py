"""Nash-MTL: the Nash bargaining solution of task gradients."""

from __future__ import annotations

from typing import ClassVar

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.alpha_fair import AlphaFairWeighting

__all__ = ["NashMTL"]


class NashMTL(AlphaFairWeighting):
    """Takes the direction on which the tasks would agree as bargainers.

    The weights solve ``G w = 1 / w`` elementwise, with ``G`` the Gram matrix of the task gradients:
    FairGrad with alpha = 1 (that method leaves the heads unweighted). They are found exactly by
    the solver of the alpha-fair family. At a Pareto-stationary point there is no such direction:
    see ``on_pareto_stationary``.

    Source: Navon et al., "Multi-Task Learning as a Bargaining Game" (ICML 2022), equation 3 and
    Claim 3.1.
    """

    name: ClassVar[str] = "nash_mtl"
    summary: ClassVar[str] = "Nash-MTL: bargaining solution of the task gradients."
    paper: ClassVar[str] = "Navon et al., ICML 2022"
    equation: ClassVar[str] = "G w = 1 / w"
    scale_law: ClassVar[str] = "1/s"
    deviations: ClassVar[tuple[str, ...]] = (
        "The published code approximates the solution by a sequence of at most 20 convex problems, "
        "keeps the last weights (first 1) whenever its solver fails, and so is equal weighting "
        "where that solver is not installed; here the equation is solved, to its residual.",
        "The published code clips the shared gradient to norm 1 after each step; clip in the "
        "training loop instead.",
        "Heads are weighted like the shared parameters, as in the published code.",
    )

    head_weighting: str = hyperparameter(
        "same",
        choices=("same", "unit"),
        source="Nash-MTL code: one backward pass of the weighted sum of losses",
        description="Weights of the task heads: those of the shared parameters, or 1.",
    )

    def exponent(self) -> float:
        """1."""
        return 1.0
