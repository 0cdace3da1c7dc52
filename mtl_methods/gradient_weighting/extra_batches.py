"""Gradients of further independent batches, for methods that sample more than one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.task_gradients import TaskGradients
from mtl_methods.errors import NonFiniteGradientError, NonFiniteLossError
from mtl_methods.gradient_weighting.one_pass import OnePassWeighting

__all__ = ["DoubleSampling"]

Array = NDArray[np.float64]


class DoubleSampling(OnePassWeighting):
    """A method that finds weights from two further batches and applies them to this one.

    The products of gradients of two independent batches are unbiased where those of one batch are
    not. Cost: K backward passes for each of the two, one for the update.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.EXTRA_BATCHES})
    backward_passes: ClassVar[str] = "2 K + 1"
    extra_batches: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._first = TaskGradients()
        self._second = TaskGradients()

    def _products(self, inputs: StepInputs, scales: Array) -> tuple[list[int], Array]:
        """Products of the gradients of the two extra batches.

        Args:
            inputs: The step, with ``extra_losses`` among its further inputs.
            scales: Coefficients of a loss weighting before this method, shape (K,).

        Returns:
            The rows k of the step's tasks that have a loss in both batches (K' of them), and
            ``H_ij = <g_i of the first, g_j of the second batch>``, shape (K', K').

        Raises:
            NonFiniteLossError: If a loss of theirs is not finite.
            NonFiniteGradientError: If a gradient of theirs is not finite and losses are not scaled.
        """
        batches: Sequence[Mapping[str, Tensor]] = inputs.extra["extra_losses"]
        rows = [k for k, task in enumerate(inputs.tasks) if all(task in b for b in batches)]
        tasks = [inputs.tasks[k] for k in rows]
        for batch in batches:
            for task in tasks:
                value = float(batch[task].detach())
                if not np.isfinite(value):
                    raise NonFiniteLossError(task, value)
        if not rows:
            return rows, np.zeros((0, 0))
        left = self._gradients_of(batches[0], tasks, inputs, self._first)
        right = self._gradients_of(batches[1], tasks, inputs, self._second)
        with torch.no_grad(), torch.autocast(left.device.type, enabled=False):
            products = (left @ right.T).to("cpu", torch.float64).numpy()
        if not np.isfinite(products).all():
            if inputs.grad_scale == 1.0:
                finite = torch.isfinite(left).all(dim=1) & torch.isfinite(right).all(dim=1)
                raise NonFiniteGradientError(tasks[int((~finite).nonzero()[0])])
            self._event("overflow", "gradients overflowed under loss scaling; weights are kept")
            return [], np.zeros((0, 0))
        chosen = scales[rows]
        return rows, products * np.outer(chosen, chosen)

    def _gradients_of(
        self,
        batch: Mapping[str, Tensor],
        tasks: Sequence[str],
        inputs: StepInputs,
        buffer: TaskGradients,
    ) -> Tensor:
        losses = [batch[task] for task in tasks]
        return buffer.compute(losses, inputs.shared, (), scale=inputs.grad_scale)
