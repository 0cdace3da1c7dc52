"""PIVRG's performance-driven task weights, for losses of any other method."""

from __future__ import annotations

from typing import ClassVar

from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.performance import PerformanceWeighted

__all__ = ["PIVRGWeights"]


class PIVRGWeights(PerformanceWeighted, LossWeighting):
    """Weights losses by ``omega = K softmax(dm / tau)``, the heart of PIVRG.

    ``dm_k`` is the performance drop of task k against single-task training, told after every
    epoch; before the first, omega is 1 and the method is equal weighting. It plugs into any
    gradient weighting: ``compose(PIVRGWeights(), CAGrad(c=0.4))``, in a study
    ``pivrg_weights+cagrad``. Method ``pivrg`` is another thing: it has ``sqrt(omega)`` on the
    right-hand side of an equation, where here losses, and their gradients, are multiplied.

    Source: "Revisiting Fairness in Multitask Learning: A Performance-Driven Approach for Variance
    Reduction" (CVPR 2025), supplement sections 6.1 and 8.3.
    """

    name: ClassVar[str] = "pivrg_weights"
    summary: ClassVar[str] = "PIVRG's performance-driven weights, on the losses of any method."
    paper: ClassVar[str] = "Revisiting Fairness in Multitask Learning (PIVRG), CVPR 2025, 8.3"
    equation: ClassVar[str] = "min sum_k omega_k l_k, omega = K softmax(dm / tau)"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.PERFORMANCE_DROPS})
    scale_law: ClassVar[str] = "invariant"
    same_as: ClassVar[tuple[str, ...]] = ("ls",)  # until the first epoch has ended
    deviations: ClassVar[tuple[str, ...]] = (
        "Section 8.3 of the supplement says that the weights improve existing methods, not how "
        "they enter; here they multiply the losses.",
        "For the drops, the bounds and tau_star see pivrg.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: weights do not depend on the losses."""
        return 0.0

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """Omega of the present tasks, K numbers."""
        numbers: list[float] = self.omega(inputs.tasks).tolist()
        return numbers
