"""DualProj: the mean gradient, projected so that it harms no task."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.dual_cone import DualConeWeighting

__all__ = ["DualProj"]


class DualProj(DualConeWeighting):
    """Projects the mean gradient onto the dual cone of the task gradients.

    The update is the vector nearest to ``sum_k g_k / K`` with ``<d, g_k> >= 0`` for all k:
    ``w = argmin v^T G v`` over ``v >= 1/K``. Without conflicts it is the mean. Solved exactly by
    active sets. Heads get their own gradients.

    Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning" (NeurIPS
    2017), Equation 11, as generalised by Quinton and Rey (arXiv 2406.16232, 2024).
    """

    name: ClassVar[str] = "dualproj"
    summary: ClassVar[str] = "DualProj: the mean gradient, made to harm no task."
    paper: ClassVar[str] = "Lopez-Paz and Ranzato, NeurIPS 2017, Equation 11"
    equation: ClassVar[str] = "w = argmin_{v >= 1/K} v^T G v"
    scale_law: ClassVar[str] = "invariant"
    deviations: ClassVar[tuple[str, ...]] = (
        "TorchJD divides the Gram matrix by its trace, adds 1e-4 to its diagonal "
        "(regularisation=1e-4) and projects nothing below a trace of 1e-4 (least_trace=1e-4).",
    )

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """Projects the combination given by the preferences."""
        return self._project(gram, self._preferences(inputs)[None, :])
