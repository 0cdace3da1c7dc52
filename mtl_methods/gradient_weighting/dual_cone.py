"""What UPGrad and DualProj share: preferences, and the Gram matrix that they project with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.common import KeepsZeroGradients, task_numbers
from mtl_methods.solvers.cone_projection import ConeProjectionSolution, solve_cone_projection

__all__ = ["DualConeWeighting"]

Array = NDArray[np.float64]


class DualConeWeighting(KeepsZeroGradients):
    """Base of the methods that project onto ``{d : <d, g_k> >= 0 for all k}``."""

    preference: Any = hyperparameter(
        None,
        kind="weights",
        source="mean: Quinton and Rey (2024), section 2.2",
        description="Weight of each task before projection, as given; 1/K if none is given.",
    )
    regularisation: float = hyperparameter(
        0.0,
        low=0.0,
        source="0: the definition; 1e-4: TorchJD (reg_eps)",
        description="Added to the diagonal of the Gram matrix, relative to its trace.",
    )
    least_trace: float = hyperparameter(
        0.0,
        low=0.0,
        source="0: the definition; 1e-4: TorchJD (norm_eps)",
        description="A Gram matrix of a smaller trace counts as zero: nothing is projected.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0, unless small gradients are left alone."""
        return None if self.least_trace else 0.0

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self._given = task_numbers(self.name, "preference", self.preference, self.tasks, 1.0)

    def _preferences(self, inputs: StepInputs) -> Array:
        chosen: Array = self._given[inputs.index.numpy()]
        return chosen / len(chosen) if self.preference is None else chosen

    def _project(self, gram: Array, lower: Array) -> Combination:
        """Projects the combinations in the rows of ``lower``, (R, K), and adds them up."""
        trace = math.fsum(gram.diagonal().tolist())
        if trace <= self.least_trace:
            return Combination(weights=lower.sum(axis=0))
        scaled = gram / trace
        if self.regularisation:
            scaled[np.diag_indices(len(gram))] += self.regularisation
        solution: ConeProjectionSolution = solve_cone_projection(
            scaled, lower, precision=self.precision
        )
        decision = Combination(
            weights=solution.weights.sum(axis=0),
            residual=solution.residual,
            iterations=solution.iterations,
        )
        if solution.status != "converged":
            sentence = f"the projection stopped at a residual of {solution.residual:.1e}"
            decision.events.append(("inaccurate_solution", sentence))
        return decision
