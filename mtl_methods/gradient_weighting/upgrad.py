"""UPGrad: the mean of the task gradients, each projected so that it harms no task."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.dual_cone import DualConeWeighting

__all__ = ["UPGrad"]


class UPGrad(DualConeWeighting):
    """Unconflicting projection of gradients.

    Every task gradient is projected onto the dual cone ``{d : <d, g_k> >= 0 for all k}`` and the
    projections are averaged. The projection of ``sum_k u_k g_k`` is ``sum_k v_k g_k`` with
    ``v = argmin v^T G v`` over ``v >= u``, so effective weights exist, and no task loss rises to
    first order. Solved exactly by active sets. Heads get their own gradients.

    Source: Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization" (arXiv
    2406.16232, 2024), Definition of A_UPGrad and Proposition 1.
    """

    name: ClassVar[str] = "upgrad"
    summary: ClassVar[str] = "UPGrad: mean of the task gradients, each made to harm no task."
    paper: ClassVar[str] = "Quinton and Rey, arXiv 2406.16232, Proposition 1"
    equation: ClassVar[str] = "w = sum_k argmin_{v >= e_k/K} v^T G v"
    scale_law: ClassVar[str] = "invariant"
    deviations: ClassVar[tuple[str, ...]] = (
        "TorchJD divides the Gram matrix by its trace and adds 1e-4 to its diagonal, so that "
        "updates may conflict a little (regularisation=1e-4); the default is the definition.",
        "TorchJD and LibMTL project nothing where the trace is below 1e-4, so that rescaled "
        "losses change the method (least_trace=1e-4); the default has no threshold.",
    )

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """Projects each task gradient by itself."""
        return self._project(gram, np.diag(self._preferences(inputs)))
