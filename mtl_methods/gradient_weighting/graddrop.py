"""GradDrop: at every coordinate keeps only the gradients of one sign, drawn at random."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination, GradientCombination
from mtl_methods.core.method import StepInputs
from mtl_methods.errors import ConfigurationError
from mtl_methods.gradient_weighting.common import task_numbers

__all__ = ["GradDrop"]


class GradDrop(GradientCombination):
    """Gradient sign dropout.

    At each coordinate the purity ``P = (1 + sum_k g_k / sum_k |g_k|) / 2`` is the chance of
    keeping the positive gradients there; otherwise the negative ones are kept. With U uniform in
    (0, 1) the mask of task k is ``M_k = 1[P > U] 1[g_k > 0] + 1[P < U] 1[g_k < 0]`` and the update
    is ``sum_k (leak_k + (1 - leak_k) M_k) g_k``. One U is drawn per coordinate, for all tasks.

    On parameters, coordinates are parameters. With ``gradients_on="features"`` they are features:
    signs are those of ``g_k * sign(feature)`` summed over the batch and all else but the feature
    dimension, so that the mask is shared by the examples, as the paper has it.

    There are no effective weights: coordinates have their own. Heads get their own gradients.

    Source: Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign
    Dropout" (NeurIPS 2020), Algorithm 1.
    """

    name: ClassVar[str] = "graddrop"
    summary: ClassVar[str] = "GradDrop: keeps gradients of one random sign per coordinate."
    paper: ClassVar[str] = "Chen et al., NeurIPS 2020, Algorithm 1"
    equation: ClassVar[str] = "d = sum_k M_k g_k, M = 1[P>U] 1[g>0] + 1[P<U] 1[g<0]"
    scale_law: ClassVar[str] = "no weights"
    deviations: ClassVar[tuple[str, ...]] = (
        "The paper masks gradients on shared features (gradients_on='features'); the FairGrad "
        "family and TorchJD mask those on parameters (the default, as for all methods).",
        "The FairGrad family adds 1e-8, LibMTL 1e-7 to the denominator of P; here P is 1/2 where "
        "all gradients are zero.",
        "The FairGrad family averages and then multiplies by K, which is the sum.",
    )

    leak: float = hyperparameter(
        0.0,
        low=0.0,
        high=1.0,
        search=(0.0, 0.5),
        source="section 3.2; 0 in the paper's main results",
        description="Part of each gradient that passes unmasked; 1 is the plain sum.",
    )
    task_leak: Any = hyperparameter(
        None,
        kind="weights",
        source="Algorithm 1 has one leak per task",
        description="Leak of each task, at most 1, in place of the common one.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for item in self.task_leak or ():
            leak = item[1] if isinstance(item, tuple) else item
            if leak > 1.0:
                raise ConfigurationError(
                    f"{self.name}: task_leak has the leak {leak:g}; each must be a number >= 0 and "
                    "<= 1"
                )

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self._leaks = task_numbers(self.name, "task_leak", self.task_leak, self.tasks, self.leak)

    def _uniform(self, count: int, like: Tensor) -> Tensor:
        """One draw per coordinate, shape (count,)."""
        drawn = torch.rand(count, dtype=torch.float64, generator=self.generator, device="cpu")
        return drawn.to(like.device)

    def combine(self, matrix: Tensor, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The masked sum, shape (m,)."""
        if self.gradients_on == "features":
            assert inputs.features is not None
            widths = [feature.numel() for feature in inputs.features]
            blocks = torch.split(matrix, widths, dim=1)
            pairs = zip(blocks, inputs.features, strict=True)
            combined = torch.cat([self._on_features(b, f, inputs) for b, f in pairs])
        else:
            combined = self._masked_sum(matrix, matrix, inputs)
        return Combination(combined=combined)

    def _masked_sum(self, gradients: Tensor, signed: Tensor, inputs: StepInputs) -> Tensor:
        """Sum over tasks of ``gradients`` (K, ..., n), masked by the signs of ``signed`` (K, n)."""
        largest = torch.zeros_like(signed[0])
        for row in signed:
            torch.maximum(largest, row.abs(), out=largest)
        largest = torch.where(largest > 0.0, largest, 1.0)
        total, size = torch.zeros_like(largest), torch.zeros_like(largest)
        for row in signed:
            share = row / largest
            total += share
            size += share.abs_()
        purity = 0.5 * (1.0 + total / torch.where(size > 0.0, size, 1.0))
        excess = purity - self._uniform(len(purity), purity)
        leaks = torch.from_numpy(self._leaks[inputs.index.numpy()]).to(gradients)
        combined = torch.zeros_like(gradients[0])
        for gradient, sign, leak in zip(gradients, signed, leaks, strict=True):
            kept = (sign * excess > 0.0).to(gradient.dtype)
            combined += gradient * (leak + (1.0 - leak) * kept)
        return combined

    def _on_features(self, block: Tensor, feature: Tensor, inputs: StepInputs) -> Tensor:
        """The masked sum for one feature tensor (B, d) or (B, d, ...), flattened."""
        shape = feature.shape if feature.dim() > 1 else (1, *feature.shape)
        gradients = block.reshape(len(block), *shape).movedim(2, -1)
        signs = feature.detach().reshape(shape).movedim(1, -1).sign().to(gradients.dtype)
        signed = (gradients * signs).flatten(1, -2).sum(dim=1)
        return self._masked_sum(gradients, signed, inputs).movedim(-1, 1).reshape(-1)
