"""Methods that set one coefficient per loss: one backward pass, whatever the number of tasks."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.method import Family, Method, StepInputs
from mtl_methods.core.number_range import beyond_range
from mtl_methods.core.writing import accumulate, backward_two_ways, without_autocast
from mtl_methods.errors import TaskError

__all__ = ["LossWeighting", "ObjectiveWeighting"]


class LossWeighting(Method):
    """A method whose update is ``sum_k a_k grad(l_k)`` with coefficients found from losses alone.

    A subclass gives :meth:`coefficients`; the base takes the one backward pass that they need.

    Class attributes:
        combines_gradients: Whether it may also stand in the place of a gradient weighting, since
            its coefficients depend on no loss.
    """

    combines_gradients: ClassVar[bool] = False
    family: ClassVar[Family] = "loss"
    backward_passes: ClassVar[str] = "1"

    head_weighting: str = hyperparameter(
        "same",
        choices=("same", "unit"),
        source="a weighted sum of losses weights the heads too, in every paper of this family",
        description="Weights of the task heads: those of the shared parameters, or 1.",
    )

    @abstractmethod
    def coefficients(self, inputs: StepInputs) -> list[float] | Tensor:
        """The coefficient of each loss; adds gradients of own parameters to their ``.grad``.

        Args:
            inputs: The step; ``inputs.numbers`` and ``inputs.values`` are the losses.

        Returns:
            K numbers; as a tensor of shape (K,), float64, on the CPU.
        """

    def coefficient_numbers(self, inputs: StepInputs) -> list[float]:
        """:meth:`coefficients` as K plain numbers.

        Raises:
            TaskError: If the losses' type cannot hold one: the update would be NaN.
        """
        found = self.coefficients(inputs)
        numbers: list[float] = found.tolist() if isinstance(found, Tensor) else found
        dtype = inputs.losses[0].dtype
        place = beyond_range(numbers, dtype)
        if place is not None:
            raise TaskError(
                f"{self.name}: the weight of task {inputs.tasks[place]!r} is {numbers[place]:.3g}, "
                f"beyond the range of {dtype}, with a loss of {inputs.numbers[place]:.3g}; rescale "
                "the losses, or train in a wider type"
            )
        return numbers

    def _step(self, inputs: StepInputs) -> None:
        self._step_with_coefficients(inputs, None)

    def _step_with_coefficients(
        self, inputs: StepInputs, given: NDArray[np.float64] | None
    ) -> None:
        """One step on the losses ``given[k] * losses[k]`` (a composition), or the losses."""
        started = time.perf_counter()
        coefficients = self.coefficient_numbers(inputs)
        units = None if self.head_weighting == "same" else [inputs.grad_scale] * len(inputs.tasks)
        if given is not None:
            scales = given.tolist()
            coefficients = [c * scale for c, scale in zip(coefficients, scales, strict=True)]
            if units is not None:
                units = [scale * inputs.grad_scale for scale in scales]
            self.last_step.loss_scales = given
        self.last_step.solve_seconds = time.perf_counter() - started
        self.last_step.tell_weights(tuple(coefficients), inputs.losses[0])
        factors = [c * inputs.grad_scale for c in coefficients]
        backward_two_ways(
            inputs.losses,
            factors,
            factors if units is None else units,
            inputs.shared,
            inputs.heads,
            inputs.joined,
        )


class ObjectiveWeighting(LossWeighting):
    """A loss weighting that is the derivative of an objective in losses and own parameters.

    A subclass gives :meth:`objective`; coefficients and gradients of own parameters follow by
    differentiation, without touching the model's graph.
    """

    @abstractmethod
    def objective(self, losses: Tensor, inputs: StepInputs) -> Tensor:
        """The scalar to minimise.

        Args:
            losses: Shape (K,), detached values that require a gradient, on the device and in the
                type of the own parameters (float64 on the CPU if there are none).
            inputs: The step.

        Returns:
            A scalar.
        """

    def coefficients(self, inputs: StepInputs) -> list[float] | Tensor:
        """The derivative of the objective by each loss, shape (K,)."""
        own = list(self.own.parameters())
        values = inputs.values.to(own[0].device, own[0].dtype) if own else inputs.values
        values = values.detach().requires_grad_()
        with torch.enable_grad(), without_autocast(values.device.type):
            total = self.objective(values, inputs)
        gradients = torch.autograd.grad(total, [values, *own], allow_unused=True)
        accumulate(own, gradients[1:], inputs.grad_scale)
        coefficients = gradients[0]
        assert coefficients is not None
        return coefficients.to("cpu", torch.float64)
