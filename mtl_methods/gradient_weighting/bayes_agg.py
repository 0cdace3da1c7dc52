"""BayesAgg-MTL: gradients weighted by how sure the last layers are of them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination, GradientCombination
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.errors import TaskError
from mtl_methods.gradient_weighting.last_layer import LastLayer, recover_last_layer

__all__ = ["BayesAgg"]

_LEAST_SHARE = 1e-8  # a variance below this part of the largest of a coordinate counts as that


class BayesAgg(GradientCombination):
    """Weights feature gradients, coordinate by coordinate, by their precision.

    The last layer of each task has a Gaussian posterior, which makes the gradient of its loss on
    the shared features a random variable. With its mean ``mu_k`` and variance ``v_k`` for every
    example and coordinate, the features get ``sum_k v_k^-s mu_k / sum_k v_k^-s``.

    Layers are recovered from losses: heads must be one linear layer on features (B, d) (see
    :func:`~mtl_methods.gradient_weighting.last_layer.recover_last_layer`). B times the loss counts
    as the negative log-likelihood of the batch. To second order in the outputs, and with outputs
    independent of each other, the posterior of output o is Gaussian with precision
    ``I / prior_variance + P_o``, where ``P_o <- memory P_o + sum_n c_no h_n h_n^T`` adds up the
    curvatures c, and its mean follows likewise; moments of ``g_n = sum_o w_o (dl/do)(w)`` are then
    exact. For the squared error and a prior this is the closed form of the paper. No effective
    weights: every coordinate of every example has its own. Heads get their own gradients. A
    missing task keeps its posterior.

    Limits: heads with hidden layers are refused; softmax outputs are treated as independent; a
    head whose weights are all zero cannot be recovered.

    Source: Achituve et al., "Bayesian Uncertainty for Gradient Aggregation in Multi-Task
    Learning" (ICML 2024), sections 4.1 to 4.3.
    """

    name: ClassVar[str] = "bayes_agg"
    summary: ClassVar[str] = "BayesAgg-MTL: feature gradients weighted by their precision."
    paper: ClassVar[str] = "Achituve et al., ICML 2024, section 4"
    needs: ClassVar[frozenset[Need]] = frozenset(
        {Need.LOSSES, Need.GRADIENTS, Need.FEATURES, Need.LINEAR_HEADS}
    )
    equation: ClassVar[str] = "dz = sum_k v_k^-s mu_k / sum_k v_k^-s, mu, v over posteriors of W_k"
    backward_passes: ClassVar[str] = "K (2 + outputs) through the heads, 1 through the trunk"
    scale_law: ClassVar[str] = "no weights"
    deviations: ClassVar[tuple[str, ...]] = (
        "The code finds the posterior on the whole training set once per epoch and takes it as "
        "the prior of each batch; a method sees batches only, so here past batches count with "
        "memory^age.",
        "For classification the paper samples gradients (512 draws); here their moments are exact "
        "for the second-order expansion of the loss in the outputs.",
        "The code gives squared errors a noise of variance 1; here the loss itself says it.",
    )

    gradients_on: str = hyperparameter(
        "features",
        choices=("features",),
        source="section 4: the method lives on the shared features",
        description="Where task gradients are taken.",
    )
    power: float = hyperparameter(
        1.0,
        low=0.0,
        high=1.0,
        search=(0.1, 1.0),
        source="section 4.3 and code (sqrt_power): 1",
        description="The s of the precisions; 0 is the mean of the gradients.",
    )
    prior_variance: float = hyperparameter(
        1.0,
        low=0.0,
        low_open=True,
        search=(1e-3, 10.0),
        log=True,
        source="code (gamma): tuned, 0.001 by default beside whole-data posteriors",
        description="Variance of the weights of the last layers before any data.",
    )
    memory: float = hyperparameter(
        0.99,
        low=0.0,
        high=1.0,
        search=(0.5, 0.999),
        source="ours, in place of one pass over the training set per epoch",
        description="Factor on what past batches said, per batch.",
    )

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.state["precision"] = {}
        self.state["information"] = {}
        self._layers: list[LastLayer | None] = []

    def _step_with_coefficients(
        self, inputs: StepInputs, coefficients: NDArray[np.float64] | None
    ) -> None:
        features = inputs.features
        assert features is not None
        if len(features) != 1:
            raise TaskError(f"bayes_agg: features must be one tensor, got {len(features)}")
        scales = np.ones(len(inputs.tasks)) if coefficients is None else coefficients
        self._layers = [
            self._scaled(
                recover_last_layer(self.name, task, loss, features[0], inputs.shared), scale
            )
            for task, loss, scale in zip(inputs.tasks, inputs.losses, scales.tolist(), strict=True)
        ]
        super()._step_with_coefficients(inputs, coefficients)
        self._layers = []

    @staticmethod
    def _scaled(layer: LastLayer | None, scale: float) -> LastLayer | None:
        """The layer of B times ``scale`` times the loss, the sum over the batch."""
        if layer is None:
            return None
        factor = scale * len(layer.inputs)
        return LastLayer(
            layer.inputs, layer.weights, layer.slopes * factor, layer.curvatures * factor
        )

    def combine(self, matrix: Tensor, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The precision-weighted mean of the expected gradients, shape (m,)."""
        assert inputs.features is not None
        moments = [
            self._moments(layer, *self._posterior(task, layer))
            for task, layer in zip(inputs.tasks, self._layers, strict=True)
            if layer is not None
        ]
        if not moments:
            return Combination(combined=torch.zeros_like(matrix[0]))
        means = torch.stack([mean for mean, _ in moments])
        variances = torch.stack([variance for _, variance in moments])
        largest = variances.amax(dim=0)
        relative = variances / torch.where(largest > 0.0, largest, 1.0)
        trust = relative.clamp(min=_LEAST_SHARE) ** -self.power
        combined = (trust * means).sum(dim=0) / trust.sum(dim=0)
        return Combination(combined=(combined / len(combined)).reshape(-1).to(matrix))

    def _posterior(self, task: str, layer: LastLayer) -> tuple[Tensor, Tensor]:
        """Means (c, d + 1) and covariances (c, d + 1, d + 1) of the outputs' weights."""
        inputs, curvatures = layer.inputs, layer.curvatures
        fresh = torch.einsum("no,ni,nj->oij", curvatures, inputs, inputs)
        outputs = inputs @ layer.weights.T
        target = (curvatures * outputs - layer.slopes).T @ inputs
        precision: dict[str, Tensor] = self.state["precision"]
        information: dict[str, Tensor] = self.state["information"]
        if task in precision and precision[task].shape == fresh.shape:
            fresh = fresh + self.memory * precision[task].to(fresh)
            target = target + self.memory * information[task].to(target)
        precision[task], information[task] = fresh, target
        eye = torch.eye(inputs.shape[1], dtype=fresh.dtype, device=fresh.device)
        scale = fresh.diagonal(dim1=-2, dim2=-1).amax(dim=-1).clamp(min=1.0)[:, None, None]
        factor = torch.linalg.cholesky(fresh + eye / self.prior_variance + eye * scale * 1e-12)
        means = torch.cholesky_solve(target[..., None], factor)[..., 0]
        return means, torch.cholesky_inverse(factor)

    @staticmethod
    def _moments(layer: LastLayer, means: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each example's gradient on the features, (B, d) each.

        A term of it is ``w_j s`` with ``s = slope + curvature (w - W) . h``, the product of two
        jointly Gaussian numbers.
        """
        inputs, curvatures = layer.inputs, layer.curvatures
        size = inputs.shape[1] - 1
        shift = inputs @ (means - layer.weights).T
        expected = (layer.slopes + curvatures * shift).T[..., None]
        spread = torch.einsum("oij,nj->oni", covariances, inputs)
        with_slope = curvatures.T[..., None] * spread[..., :size]
        of_slope = (curvatures**2 * torch.einsum("oni,ni->no", spread, inputs)).T[..., None]
        of_weight = covariances.diagonal(dim1=-2, dim2=-1)[:, None, :size]
        weight = means[:, None, :size]
        mean = weight * expected + with_slope
        variance = (
            weight**2 * of_slope
            + expected**2 * of_weight
            + 2.0 * weight * expected * with_slope
            + of_weight * of_slope
            + with_slope**2
        )
        return mean.sum(dim=0), variance.sum(dim=0).clamp(min=0.0)
