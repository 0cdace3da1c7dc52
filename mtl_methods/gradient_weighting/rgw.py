"""Random gradient weighting: new random gradient weights in every step."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.one_pass import OnePassWeighting
from mtl_methods.loss_weighting.rlw import DISTRIBUTIONS, draw_weights

__all__ = ["RGW"]


class RGW(OnePassWeighting):
    """Weights the shared gradients with weights drawn anew in every step; heads are left alone.

    The weights are those of random loss weighting (``rlw``), of sum 1 and mean 1/K; unlike there
    they do not reach the task heads. Since they are known beforehand, the update takes one pass
    through the trunk, not K.

    Source: Lin et al., "Reasonable Effectiveness of Random Weighting" (TMLR 2022), Algorithm 1.
    """

    name: ClassVar[str] = "rgw"
    summary: ClassVar[str] = "Random gradient weighting: random weights on shared gradients."
    paper: ClassVar[str] = "Lin et al., TMLR 2022, Algorithm 1"
    equation: ClassVar[str] = "d = sum_k w_k g_k, w = f(draw), E[w_k] = 1/K; heads unweighted"
    scale_law: ClassVar[str] = "invariant"
    permutation_equivariant: ClassVar[bool] = False
    deviations: ClassVar[tuple[str, ...]] = (
        "The paper takes gradients on the last shared features; the update is the same.",
        "TorchJD's Random, of normal draws only, is this method although it names the loss "
        "variant's algorithm.",
    )

    distribution: str = hyperparameter(
        "normal",
        choices=DISTRIBUTIONS,
        search=DISTRIBUTIONS,
        source="section 5.4; normal is the paper's choice",
        description="Where the raw weights are drawn from.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: weights do not depend on the losses."""
        return 0.0

    def find_weights(self, inputs: StepInputs, scales: NDArray[np.float64]) -> Combination:
        """New random weights, shape (K,)."""
        drawn = draw_weights(self.distribution, len(self.tasks), inputs.index, self.generator)
        return Combination(weights=drawn.numpy())
