"""CAGrad: the best worst-case rate near the mean gradient."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.common import KeepsZeroGradients
from mtl_methods.solvers.cagrad import solve_cagrad

__all__ = ["CAGrad"]


class CAGrad(KeepsZeroGradients):
    """Improves the worst task as much as possible without leaving the mean gradient by far.

    The update ``d`` maximises ``min_k g_k . d`` over ``||d - g_0|| <= c ||g_0||`` with the mean
    gradient ``g_0``. In the dual, ``w`` minimises ``g_w . g_0 + c ||g_0|| ||g_w||`` over the
    simplex, ``g_w = sum_k w_k g_k``, and ``d = g_0 + c ||g_0|| g_w / ||g_w||``: the effective
    weights are ``1/K + c ||g_0|| / ||g_w|| w_k``. c = 0 is the mean gradient.

    Where ``g_w = 0`` is optimal (Pareto-stationary), no update improves the worst task: the one
    nearest to ``g_0`` that worsens no task is taken, counted as ``pareto_stationary``.

    A task whose gradient is zero counts as any other: the mean is over all K tasks, and no update
    has a worst rate above 0, so that such a step is stationary as above, unless every update of
    the ball worsens a task.

    Source: Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning" (NeurIPS 2021),
    equations 3 and 4, Algorithm 1.
    """

    name: ClassVar[str] = "cagrad"
    summary: ClassVar[str] = "CAGrad: best worst-case rate in a ball around the mean gradient."
    paper: ClassVar[str] = "Liu et al., NeurIPS 2021"
    equation: ClassVar[str] = "d = g_0 + c ||g_0|| g_w / ||g_w||, g_0 = mean_k g_k"
    scale_law: ClassVar[str] = "invariant"
    deviations: ClassVar[tuple[str, ...]] = (
        "The published code divides the update by 1 + c^2 (rescale='1+c^2'; its other option is "
        "1 + c) and multiplies it by K (gradient_scale='sum'); Algorithm 1 does neither.",
        "The published code finds w by SLSQP from equal weights, which can miss it by orders of "
        "magnitude at unequal gradients, and adds 1e-8 to norms; here the dual is solved exactly.",
        "Code bases log w as the weights; the effective weights are those above.",
        "Heads are unweighted, as in the published code.",
    )

    c: float = hyperparameter(
        0.4,
        low=0.0,
        high=1e8,
        search=(0.1, 0.9),
        source="CAGrad section 5: c in [0, 1), 0.4 on NYUv2 and Cityscapes; grids 0.2, 0.5, 0.8",
        description="Radius of the ball around the mean gradient, relative to its norm.",
    )
    rescale: str = hyperparameter(
        "none",
        choices=("none", "1+c^2", "1+c"),
        source="CAGrad Algorithm 1 (none); its code (1+c^2)",
        description="What the update is divided by.",
    )
    gradient_scale: str = hyperparameter(
        "mean",
        choices=("mean", "sum"),
        source="CAGrad equation 3 (mean); code of the Nash-MTL family (sum)",
        description="Whether the update has the scale of the mean loss or, times K, of the sum.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0."""
        return 0.0

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """``1/K + c ||g_0|| / ||g_w|| w``, rescaled, shape (K,)."""
        count = len(inputs.tasks)
        solution = solve_cagrad(gram, self.c, precision=self.precision)
        factor = {"none": 1.0, "1+c^2": 1.0 + self.c**2, "1+c": 1.0 + self.c}[self.rescale]
        scale = (count if self.gradient_scale == "sum" else 1.0) / factor
        decision = Combination(
            weights=scale * (1.0 / count + solution.correction),
            residual=solution.residual,
            iterations=solution.iterations,
        )
        if solution.status == "pareto_stationary":
            sentence = "no update improves the worst task (Pareto-stationary)"
            decision.events.append(("pareto_stationary", sentence))
        elif solution.status == "inaccurate":
            sentence = f"the weights are optimal only to {solution.residual:.1e}"
            decision.events.append(("solver_tolerance", sentence))
        return decision
