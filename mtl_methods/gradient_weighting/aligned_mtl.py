"""Aligned-MTL: replaces the gradient matrix by the nearest one with equal singular values."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.common import KeepsZeroGradients, task_numbers

__all__ = ["AlignedMTL"]


class AlignedMTL(KeepsZeroGradients):
    """Aligns the principal components of the gradient matrix.

    With ``G = U S V^T`` (tasks in rows) the update is ``s V U^T a``: all non-zero singular values
    become one s, by default the smallest, so that the condition number is 1 where it was not
    infinite. On the Gram matrix ``M = U L U^T`` with ``L = S^2`` the weights are
    ``s U L^(-1/2) U^T a``, over eigenvalues above ``rank_tolerance`` times the largest. The a_k are
    task preferences, by default 1 / K. Heads get their own gradients.

    Source: Senushkin et al., "Independent Component Alignment for Multi-Task Learning" (CVPR
    2023), Algorithm 1.
    """

    name: ClassVar[str] = "aligned_mtl"
    summary: ClassVar[str] = "Aligned-MTL: equalises the singular values of the gradient matrix."
    paper: ClassVar[str] = "Senushkin et al., CVPR 2023, Algorithm 1"
    equation: ClassVar[str] = "w = s U L^(-1/2) U^T a, G G^T = U L U^T, s = sqrt(min L)"
    scale_law: ClassVar[str] = "invariant"
    deviations: ClassVar[tuple[str, ...]] = (
        "Preferences: 1/K per task (the default, TorchJD) or 1 (LibMTL, preference_sum='tasks'): "
        "updates differ by the factor K.",
        "Published code cuts the rank at K times the rounding unit of torch's default type, so "
        "that float32 and float64 runs differ on the same gradients; here at that of the "
        "gradients' own type, or at rank_tolerance.",
        "Scales other than the smallest singular value are those of TorchJD.",
    )

    scale_mode: str = hyperparameter(
        "min",
        choices=("min", "median", "rmse"),
        search=("min", "median", "rmse"),
        source="min: Algorithm 1; others: TorchJD",
        description="The common singular value: smallest, lower median or root mean square.",
    )
    preference_sum: str = hyperparameter(
        "one",
        choices=("one", "tasks"),
        source="one: TorchJD; tasks: LibMTL",
        description="Whether equal preferences sum to 1 or to the number of tasks.",
    )
    preference: Any = hyperparameter(
        None,
        kind="weights",
        source="section 3: the user's choice",
        description="Preference of each task, used as given; equal ones if none are given.",
    )
    rank_tolerance: float | None = hyperparameter(
        None,
        kind="float",
        low=0.0,
        high=1.0,
        high_open=True,
        source="K times the rounding unit of the gradients if none is given",
        description="Eigenvalues of the Gram matrix up to this part of the largest are left out.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: weights do not depend on the scale of the losses."""
        return 0.0

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self._given = task_numbers(self.name, "preference", self.preference, self.tasks, 1.0)

    def _preferences(self, inputs: StepInputs) -> NDArray[np.float64]:
        if self.preference is None and self.preference_sum == "one":
            return np.full(len(inputs.tasks), 1.0 / len(inputs.tasks))
        chosen: NDArray[np.float64] = self._given[inputs.index.numpy()]
        return chosen

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """Weights from the eigenvectors of the Gram matrix."""
        count = len(gram)
        largest = gram.diagonal().max()
        if largest == 0.0:
            return Combination(weights=np.zeros(count))
        values, vectors = np.linalg.eigh(gram / largest)
        tolerance = self.rank_tolerance
        if tolerance is None:
            tolerance = count * self.precision
        kept = values > tolerance * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        if self.scale_mode == "min":
            common = values[0]
        elif self.scale_mode == "median":
            common = values[(len(values) - 1) // 2]
        else:
            common = values.mean()
        stretch = np.sqrt(common / values)
        return Combination(weights=(vectors * stretch) @ (vectors.T @ self._preferences(inputs)))
