"""Gradient weightings whose weights do not depend on the gradients of this batch."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination, GradientWeighting
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.writing import backward_two_ways

__all__ = ["OnePassWeighting"]

Array = NDArray[np.float64]


class OnePassWeighting(GradientWeighting):
    """A gradient weighting that knows its weights before it differentiates the batch.

    A weighted sum of gradients is then the gradient of a weighted sum: one pass through the trunk
    and, where heads are weighted otherwise, one through the heads alone.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES})
    backward_passes: ClassVar[str] = "1"

    gradients_on: str = hyperparameter(
        "parameters",
        choices=("parameters",),
        source="with given weights, gradients on features lead to the same update",
        description="Where task gradients are taken.",
    )

    @abstractmethod
    def find_weights(self, inputs: StepInputs, scales: Array) -> Combination:
        """Finds the weights.

        Args:
            inputs: The step.
            scales: Coefficients of a loss weighting before this method, shape (K,); 1 without.

        Returns:
            A decision with weights of shape (K,) for the gradients of the scaled losses.
        """

    def combine(self, matrix: Tensor, gram: Array, inputs: StepInputs) -> Combination:
        """The weights of :meth:`find_weights`; gradients play no part."""
        return self.find_weights(inputs, np.ones(len(inputs.tasks)))

    def _step_with_coefficients(self, inputs: StepInputs, coefficients: Array | None) -> None:
        scales = np.ones(len(inputs.tasks)) if coefficients is None else coefficients
        started = time.perf_counter()
        decision = self.find_weights(inputs, scales)
        self.last_step.solve_seconds += time.perf_counter() - started
        assert decision.weights is not None
        effective = decision.weights * scales
        for name, sentence in decision.events:
            self._event(name, sentence)
        heads = effective if self.head_weighting == "same" else scales
        backward_two_ways(
            inputs.losses,
            (effective * inputs.grad_scale).tolist(),
            (heads * inputs.grad_scale).tolist(),
            inputs.shared,
            inputs.heads,
            inputs.joined,
        )
        self.last_step.tell_weights(effective, inputs.losses[0])
