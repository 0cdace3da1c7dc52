"""Methods that look at task gradients: one backward pass per task, then one combination."""

from __future__ import annotations

import functools
import logging
import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.method import Family, Method, Need, StepInputs
from mtl_methods.core.number_range import beyond_range, limits
from mtl_methods.core.task_gradients import TaskGradients
from mtl_methods.core.writing import calculating, device_of, without_autocast
from mtl_methods.errors import NonFiniteGradientError, SolverError, TaskError
from mtl_methods.exact_gram import (
    FactoredGradients,
    backward_combining,
)
from mtl_methods.solvers.finite import is_finite

__all__ = ["Combination", "GradientCombination", "GradientWeighting"]

logger = logging.getLogger("mtl_methods")


@dataclass
class Combination:
    """What a gradient method decides in one step.

    Attributes:
        weights: Coefficient of each task gradient, shape (K,), float64; ``None`` if the combined
            gradient is no weighted sum of task gradients.
        combined: The combined gradient, shape (m,); ``None`` if it is ``weights @ gradients``.
        head_weights: What ``head_weighting="same"`` means for the heads where that is not
            ``weights``, shape (K,): 1 for a task whose weight is 0 only because its shared
            gradient says nothing.
        residual: Relative residual of the solver, ``None`` without one.
        iterations: Its iterations.
        events: Rare events, as (name, sentence).
    """

    weights: NDArray[np.float64] | None = None
    combined: Tensor | None = None
    head_weights: NDArray[np.float64] | None = None
    residual: float | None = None
    iterations: int = 0
    events: list[tuple[str, str]] = field(default_factory=list)


@functools.cache
def _ones(count: int) -> NDArray[np.float64]:
    """As many ones, to be read only."""
    ones = np.ones(count)
    ones.flags.writeable = False
    return ones


class GradientWeighting(Method):
    """Base of the methods that see the gradient of each task on the shared parameters.

    Attributes:
        needs_rows: Whether :meth:`combine` looks at the gradients themselves.
        precision: Relative accuracy of the current step's Gram matrix (of ``G_ij`` against
            ``||g_i|| ||g_j||``), for solvers: the machine epsilon of the gradients' type.
    """

    family: ClassVar[Family] = "gradient"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.GRAM})
    backward_passes: ClassVar[str] = "K"
    needs_rows: ClassVar[bool] = True

    head_weighting: str = hyperparameter(
        "unit",
        choices=("unit", "same"),
        source="see the method's description",
        description="Weights of the task heads: 1, or those of the shared parameters.",
    )
    gradients_on: str = hyperparameter(
        "parameters",
        choices=("parameters", "features"),
        source="MGDA-UB (Sener and Koltun, 2018)",
        description=(
            "Where task gradients are taken: on the shared parameters (K backward passes), or on "
            "the shared features (one pass through the trunk, which fills every parameter below "
            "them; pass features= to backward)."
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._gradients = TaskGradients()
        self.precision = torch.finfo(torch.float64).eps
        self._head_factors: NDArray[np.float64] = np.ones(0)
        if self.gradients_on == "features":
            vars(self)["needs"] = self.needs | {Need.FEATURES}

    @abstractmethod
    def combine(self, matrix: Tensor, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """Decides how the task gradients become one.

        Args:
            matrix: Task gradients as rows, shape (K, m); not to be changed. Without
                :attr:`needs_rows` not to be looked at: it may have no columns.
            gram: Their Gram matrix, shape (K, K), finite.
            inputs: The step.

        Returns:
            The decision.
        """

    def _step(self, inputs: StepInputs) -> None:
        self._step_with_coefficients(inputs, None)

    def _step_with_coefficients(
        self, inputs: StepInputs, coefficients: NDArray[np.float64] | None
    ) -> None:
        """One step on the losses ``coefficients[k] * losses[k]`` (a composition), or the losses."""
        with torch.no_grad():
            if self._in_one_pass(inputs, coefficients):
                return
            gradients = self._differentiate(inputs)
            with without_autocast(device_of(gradients.rows).type):
                how = self._decide(gradients, inputs, coefficients)
                on_features = self._write(gradients, how, inputs)
            if on_features is not None:
                self._backward_features(on_features, inputs)
                self._gradients.release()

    def _in_one_pass(self, inputs: StepInputs, coefficients: NDArray[np.float64] | None) -> bool:
        """The whole step in one backward pass, where gradients on features allow it."""
        features = inputs.features
        if self.gradients_on != "features" or features is None or len(features) != 1:
            return False
        feature = features[0]

        def memory() -> Tensor:
            rows = self._gradients.memory(features, len(inputs.losses))
            return rows.view(len(rows), *feature.shape)

        def combine(arrived: bool) -> Tensor:
            self._gradients.used = [arrived]
            self._check_used("the features given")
            if inputs.grad_scale != 1.0:
                self._gradients.rows /= inputs.grad_scale
            with calculating(device_of(feature).type):
                how = self._decide(self._gradients, inputs, coefficients)
                combined = how if isinstance(how, Tensor) else self._gradients.combine(how)
            self._gradients.release()
            return (combined.view(feature.shape) * inputs.grad_scale).to(feature.dtype)

        all_ones = coefficients is None and self.head_weighting == "unit"
        return backward_combining(
            inputs.losses,
            feature,
            inputs.heads,
            memory,
            combine,
            None if all_ones else lambda: self._head_factors.tolist(),
            scale=inputs.grad_scale,
            joined=inputs.joined,
        )

    def _decide(
        self,
        gradients: TaskGradients | FactoredGradients,
        inputs: StepInputs,
        coefficients: NDArray[np.float64] | None,
    ) -> Tensor | NDArray[np.float64]:
        """Finds the combined gradient (m,) or the weights (K,), and what heads are to get.

        To be called without autocast, and without a graph being recorded.
        """
        started = time.perf_counter()
        raw = gradients.rows
        self.precision, _ = limits(raw.dtype)
        raw_gram = gradients.gram()
        if not is_finite(raw_gram):
            return self._overflow(raw_gram, inputs)
        if coefficients is None:
            matrix, gram = raw, raw_gram
            scales = _ones(len(inputs.tasks))
        else:
            scales = coefficients
            self.last_step.loss_scales = scales
            gram = raw_gram * (scales[:, None] * scales)
            matrix = raw
            if self.needs_rows:
                factors = torch.as_tensor(scales, dtype=raw.dtype, device=raw.device)
                matrix = raw * factors[:, None]
        decision = self.combine(matrix, gram, inputs)
        self.last_step.solve_seconds += time.perf_counter() - started
        self.last_step.gram = raw_gram
        self.last_step.residual = decision.residual
        self.last_step.iterations = decision.iterations
        for name, sentence in decision.events:
            self._event(name, sentence)
        effective = decision.weights
        if effective is not None and coefficients is not None:
            effective = effective * scales
        if effective is not None:
            numbers = effective.tolist()  # the array may be the method's own
            self._check_range(numbers, raw.dtype, inputs.tasks)
            self.last_step.tell_weights(numbers, raw)
        how = decision.combined if decision.combined is not None else effective
        assert how is not None
        same = decision.weights if decision.head_weights is None else decision.head_weights
        self._head_factors = (
            scales if same is None or self.head_weighting == "unit" else same * scales
        )
        return how

    def _check_range(
        self, weights: Sequence[float], dtype: torch.dtype, tasks: Sequence[str]
    ) -> None:
        """Refuses weights that the gradients' type cannot hold: the update would be NaN."""
        largest = beyond_range(weights, dtype)
        if largest is not None:
            raise SolverError(
                f"{self.name}: the weight of task {tasks[largest]!r} is {weights[largest]:.3g}, "
                f"beyond the range of {dtype}, because the gradients are almost 0 or its solver "
                "diverged; rescale the losses, train in float64, or take another solver"
            )

    def _differentiate(self, inputs: StepInputs) -> TaskGradients | FactoredGradients:
        """The task gradients: their matrix, or factors of it where the Gram matrix is enough."""
        if self.gradients_on == "features":
            assert inputs.features is not None
            if not all(feature.requires_grad for feature in inputs.features):
                raise TaskError(f"{self.name}: the features given have no graph behind them")
            self._gradients.compute_on_features(
                inputs.losses, inputs.features, inputs.heads, scale=inputs.grad_scale
            )
            what = "the features given"
        else:
            self._gradients.compute(
                inputs.losses, inputs.shared, inputs.heads, scale=inputs.grad_scale
            )
            what = "a shared parameter"
        self._check_used(what)
        return self._gradients

    def _check_used(self, what: str) -> None:
        if not any(self._gradients.used):
            raise TaskError(f"{self.name}: no loss of the step depends on {what}")

    def _write(
        self,
        gradients: TaskGradients | FactoredGradients,
        how: Tensor | NDArray[np.float64],
        inputs: StepInputs,
    ) -> Tensor | None:
        """Writes the gradients of heads and of shared parameters.

        Args:
            gradients: The task gradients.
            how: The combined gradient (m,) or the weights (K,).
            inputs: The step.

        Returns:
            The combined gradient on features, which is still to go down the trunk.
        """
        gradients.write_heads(self._head_factors.tolist())
        if isinstance(gradients, FactoredGradients):
            assert not isinstance(how, Tensor)
            gradients.write_weighted(how)
            return None
        combined = how if isinstance(how, Tensor) else gradients.combine(how)
        if self.gradients_on == "features":
            return combined
        gradients.write_shared(combined, inputs.grad_scale)
        gradients.release()
        return None

    def _backward_features(self, combined: Tensor, inputs: StepInputs) -> None:
        """One pass from the features through the trunk."""
        assert inputs.features is not None
        parts = self._gradients.split(combined)
        roots = [f for f in inputs.features if f.grad_fn is not None]
        seeds = [
            (part * inputs.grad_scale).to(feature.dtype)
            for feature, part in zip(inputs.features, parts, strict=True)
            if feature.grad_fn is not None
        ]
        if roots:
            torch.autograd.backward(roots, seeds)

    def _overflow(self, gram: NDArray[np.float64], inputs: StepInputs) -> NDArray[np.float64]:
        """A gradient is not finite: an error, or under loss scaling a step the scaler will skip."""
        row = int(np.flatnonzero(~np.isfinite(gram.diagonal()))[0])
        if inputs.grad_scale == 1.0:
            raise NonFiniteGradientError(inputs.tasks[row])
        self._event("overflow", "gradients overflowed under loss scaling; the scaler skips it")
        self._head_factors = np.ones(len(inputs.tasks))
        return self._head_factors


class GradientCombination(GradientWeighting):
    """A gradient method that needs the gradients themselves, not only their Gram matrix."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.GRADIENTS})
