"""EDM: the direction of equal angles with the task gradients."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.common import KeepsZeroGradients, nothing_to_do, unit_gram
from mtl_methods.gradient_weighting.mgda import min_norm_events
from mtl_methods.solvers.min_norm import solve_min_norm

__all__ = ["EDM", "central_direction"]


def central_direction(gram: NDArray[np.float64], precision: float) -> Combination:
    """Weights of sum 1 along the min-norm point of the unit gradients.

    Args:
        gram: Gram matrix, shape (K, K).
        precision: Its relative accuracy.

    Returns:
        The decision; weights are zero where a gradient is, the limit of a vanishing one.
    """
    norms, cosines = unit_gram(gram)
    if not norms.all():
        sentence = "a task has no gradient on the shared parameters: zero shared update"
        return nothing_to_do(len(gram), sentence)
    solution = solve_min_norm(cosines, precision=precision)
    weights = solution.weights * (norms.min() / norms)
    return Combination(
        weights=weights / weights.sum(),
        residual=solution.residual,
        iterations=solution.iterations,
        events=min_norm_events(solution, precision),
    )


class EDM(KeepsZeroGradients):
    """Equiangular direction method: MGDA on unit gradients, with a length of its own.

    With ``u_k = g_k / |g_k|`` and v the weights of the shortest convex combination of the u_k, the
    update is ``(sum_k v_k / |g_k|)^-1 sum_k v_k u_k``. All gradients with positive weight have the
    same angle with it, and the effective weights ``v_k / |g_k|``, scaled, sum to 1. For two tasks
    ``d = (1/|g_1| + 1/|g_2|)^-1 (u_1 + u_2)``. Solved exactly. Where all v_k are positive this is
    the update of IMTL-G, whose weights may be negative where EDM leaves tasks out. A vanishing
    gradient takes the length of the update to zero with it; at zero the shared update is zero.
    Heads get their own gradients.

    Source: Katrutsa et al., "Follow the Bisector: a Simple Method for Multi-Objective
    Optimization" (arXiv 2007.06937, 2020); as in Proposition 4 of the uniform-loss paper.
    """

    name: ClassVar[str] = "edm"
    summary: ClassVar[str] = "EDM: equal angles with the task gradients (MGDA on unit gradients)."
    paper: ClassVar[str] = "Katrutsa et al., arXiv 2007.06937"
    equation: ClassVar[str] = "d = (sum v_k/|g_k|)^-1 sum v_k u_k, v = argmin |sum v_k u_k|"
    scale_law: ClassVar[str] = "invariant"
    same_as: ClassVar[tuple[str, ...]] = ("imtl_g",)  # where all of its weights are positive
    deviations: ClassVar[tuple[str, ...]] = (
        "Published code stops Frank-Wolfe after 250 steps at 1e-5; here the minimum is exact.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: weights do not depend on the scale of the losses."""
        return 0.0

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """:func:`central_direction`."""
        return central_direction(gram, self.precision)
