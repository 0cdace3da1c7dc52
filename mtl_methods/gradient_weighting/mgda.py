"""MGDA: the shortest convex combination of the task gradients."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.core.positive import loss_floor_option, losses_above_floor
from mtl_methods.gradient_weighting.common import (
    STATIONARY,
    KeepsZeroGradients,
    SeesWeightedLosses,
)
from mtl_methods.solvers.min_norm import MinNormSolution, solve_min_norm

__all__ = ["MGDA", "min_norm_events"]


def min_norm_events(solution: MinNormSolution, precision: float) -> list[tuple[str, str]]:
    """What a log should say of a min-norm solution.

    Args:
        solution: The solution.
        precision: Relative accuracy of the Gram matrix; a norm up to its root counts as zero.

    Returns:
        Events, as (name, sentence).
    """
    events = []
    if solution.status != "converged":
        sentence = f"the min-norm solver stopped at a residual of {solution.residual:.1e}"
        events.append(("inaccurate_solution", sentence))
    if solution.relative_norm <= math.sqrt(precision):
        sentence = "a convex combination of the task gradients vanishes: zero shared update"
        events.append((STATIONARY, sentence))
    return events


class MGDA(SeesWeightedLosses, KeepsZeroGradients):
    """Multiple-gradient descent: ``min_w |sum_k w_k g_k|^2`` over the simplex.

    The update ``d = sum_k w_k g_k`` has ``<d, g_k> >= |d|^2`` for every task, so it lowers all
    losses, or it is zero and the point is Pareto-stationary. Solved exactly by active sets. A task
    without gradient is such a point: it gets all the weight and the shared update is zero (counted
    as ``pareto_stationary``).

    Gradients can be normalised before the problem is solved: by ``|g_k|`` (``"l2"``), by the loss
    (``"loss"``), or by both (``"loss+"``). Heads get their own gradients (Algorithm 1 of Sener and
    Koltun). With ``gradients_on="features"`` this is MGDA-UB.

    Source: Désidéri, "Multiple-gradient descent algorithm" (Comptes Rendus 2012); Sener and
    Koltun, "Multi-Task Learning as Multi-Objective Optimization" (NeurIPS 2018), Equation 3.
    """

    name: ClassVar[str] = "mgda"
    summary: ClassVar[str] = "MGDA: the shortest convex combination of the task gradients."
    paper: ClassVar[str] = "Désidéri 2012; Sener and Koltun, NeurIPS 2018, Equation 3"
    equation: ClassVar[str] = "min_w |sum_k w_k g_k|^2, w >= 0, sum_k w_k = 1"
    scale_law: ClassVar[str] = "invariant; 1/s or 1/s^2 with aggregate='normalised'"
    deviations: ClassVar[tuple[str, ...]] = (
        "Normalised gradients serve the solver only and raw losses are weighted in the original "
        "and Nash-MTL code (aggregate='raw', the default); LibMTL and the code of the "
        "uniform-loss paper add up the normalised gradients (aggregate='normalised').",
        "Weights sum to 1 (the paper, the default); Nash-MTL multiplies them by K "
        "(weight_sum='tasks').",
        "Published solvers (Frank-Wolfe, projected gradient) stop up to 40 times above the "
        "minimum; here it is exact.",
        "The Nash-MTL family gives heads the weighted gradients (head_weighting='same').",
    )

    normalisation: str = hyperparameter(
        "none",
        choices=("none", "l2", "loss", "loss+"),
        search=("none", "l2", "loss", "loss+"),
        source="code of Sener and Koltun",
        description="What each gradient is divided by before the problem is solved.",
    )
    aggregate: str = hyperparameter(
        "raw",
        choices=("raw", "normalised"),
        source="raw: Sener and Koltun, Nash-MTL; normalised: LibMTL",
        description="Which gradients the solved weights are applied to.",
    )
    weight_sum: str = hyperparameter(
        "one",
        choices=("one", "tasks"),
        source="one: Equation 3; tasks: Nash-MTL",
        description="What the solved weights sum to: 1, or the number of tasks.",
    )
    loss_floor: float = loss_floor_option()

    @property
    def scale_exponent(self) -> float | None:
        """0 for weights of raw gradients; less where they undo a normalisation."""
        if self.aggregate == "raw":
            return 0.0
        return {"none": 0.0, "l2": -1.0, "loss": -1.0, "loss+": -2.0}[self.normalisation]

    def _divisors(
        self, gram: NDArray[np.float64], inputs: StepInputs
    ) -> NDArray[np.float64] | None:
        """What each gradient is divided by, 1 for one that is zero already; ``None`` for none."""
        if self.normalisation == "none":
            return None
        divisors = np.ones(len(gram))
        if self.normalisation in ("loss", "loss+"):
            divisors *= losses_above_floor(self.name, inputs, self.loss_floor).numpy()
        if self.normalisation in ("l2", "loss+"):
            norms = np.sqrt(gram.diagonal())
            divisors *= np.where(norms > 0.0, norms, 1.0)
        return divisors

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The exact minimiser."""
        divisors = self._divisors(gram, inputs)
        scaled = gram if divisors is None else gram / divisors[:, None] / divisors[None, :]
        solution = solve_min_norm(scaled, precision=self.precision)
        weights = solution.weights
        if divisors is not None and self.aggregate == "normalised":
            weights = weights / divisors
        if self.weight_sum == "tasks":
            weights = weights * len(weights)
        still = not gram.diagonal().all()
        return Combination(
            weights=weights,
            head_weights=np.ones(len(weights)) if still else None,
            residual=solution.residual,
            iterations=solution.iterations,
            events=min_norm_events(solution, self.precision),
        )
