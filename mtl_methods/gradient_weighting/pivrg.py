"""PIVRG: weights tasks by their performance drop, to make the drops equal."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_methods.core.alpha_fair import AlphaFairWeighting
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.performance import PerformanceWeighted

__all__ = ["PIVRG"]


class PIVRG(PerformanceWeighted, AlphaFairWeighting):
    """Gives tasks that lag behind single-task training more weight, to reduce the variance.

    After each epoch the performance drop ``dm_k`` of each task against single-task training (mean
    relative drop of its validation metrics, percent) gives ``omega = K softmax(dm / tau)``. The
    weights of a step solve ``G w = sqrt(omega / w)`` elementwise. Before the first epoch ends,
    omega is 1 and the method takes FairGrad's steps with alpha = 2 (heads aside).

    At a Pareto-stationary point the equation has no solution: see ``on_pareto_stationary``.

    Source: "Revisiting Fairness in Multitask Learning: A Performance-Driven Approach for Variance
    Reduction" (CVPR 2025), supplement sections 6.1 (omega) and 6.3 (weights).
    """

    name: ClassVar[str] = "pivrg"
    summary: ClassVar[str] = "PIVRG: performance drops steer the weights towards equal drops."
    paper: ClassVar[str] = "Revisiting Fairness in Multitask Learning (PIVRG), CVPR 2025"
    equation: ClassVar[str] = "G w = sqrt(omega / w), omega = K softmax(dm / tau)"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.GRAM, Need.PERFORMANCE_DROPS})
    scale_law: ClassVar[str] = "s^(-4/3)"
    same_as: ClassVar[tuple[str, ...]] = ("fairgrad",)  # until the first epoch has ended
    deviations: ClassVar[tuple[str, ...]] = (
        "No code is published. The drops are those of the validation split, once per epoch; "
        "before the first, omega is 1.",
        "The bounds of omega and tau_star are not in the supplement; the defaults bound omega by a "
        "factor of 2 either way and never let tau fall below 10 percentage points.",
        "The supplement does not say what happens to the heads; unweighted, as in FairGrad.",
    )

    def exponent(self) -> float:
        """1/2."""
        return 0.5

    def constants(self, inputs: StepInputs) -> NDArray[np.float64]:
        """``sqrt(omega)``, shape (K,)."""
        return np.sqrt(self.omega(inputs.tasks))
