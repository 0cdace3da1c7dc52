"""ConFIG: the direction of equal cosine with all task gradients."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.common import (
    KeepsZeroGradients,
    nothing_to_do,
    pseudo_inverse,
    task_numbers,
    unit_gram,
)

__all__ = ["ConFIG"]


class ConFIG(KeepsZeroGradients):
    """Conflict-free inverse gradients: equal cosines, and a length from all projections.

    The direction is ``v = U^+ a`` with the unit gradients as rows of U and task preferences a
    (default 1 each): its cosine with gradient k is proportional to ``a_k``. The update is
    ``(sum_k <g_k, v / |v|>) v / |v|``. As ``U^+ = U^T (U U^T)^+``, it lies in the span of the task
    gradients and has effective weights; the matrix of cosines suffices. Where no direction exists
    (``v = 0``, opposing gradients) the shared update is zero and counted. Heads get their own
    gradients.

    Source: Liu et al., "ConFIG: Towards Conflict-free Training of Physics Informed Neural
    Networks" (ICLR 2025), Equations 2 to 4.
    """

    name: ClassVar[str] = "config"
    summary: ClassVar[str] = "ConFIG: equal cosines with all task gradients."
    paper: ClassVar[str] = "Liu et al., ICLR 2025, Equations 2-4"
    equation: ClassVar[str] = "v = U^+ a, d = (sum_k <g_k, v/|v|>) v/|v|, rows of U = g_k/|g_k|"
    scale_law: ClassVar[str] = "invariant"
    deviations: ClassVar[tuple[str, ...]] = (
        "Preferences shape the direction only, not the length, as in TorchJD.",
        "Published code takes the pseudo-inverse of the (K, m) matrix of unit gradients; here that "
        "of their K x K cosines, the same but for a rank cut at squared singular values.",
    )

    preference: Any = hyperparameter(
        None,
        kind="weights",
        source="section 3.2: equal",
        description="Wanted cosine of each task, up to a common factor; equal if none is given.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: weights do not depend on the scale of the losses."""
        return 0.0

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self._wanted = task_numbers(self.name, "preference", self.preference, self.tasks, 1.0)

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """Weights of the update, shape (K,)."""
        count = len(gram)
        norms, cosines = unit_gram(gram)
        wanted = self._wanted[inputs.index.numpy()]
        shares = pseudo_inverse(cosines, count * self.precision) @ wanted
        projections = cosines @ shares
        square = float(shares @ projections)
        if square <= 1e-12 * float(wanted @ wanted):
            sentence = "no direction agrees with all task gradients: zero shared update"
            return nothing_to_do(count, sentence)
        length = float(norms @ projections)
        safe = np.where(norms > 0.0, norms, 1.0)
        weights = np.where(norms > 0.0, shares / safe, 0.0) * (length / square)
        return Combination(weights=weights)
