"""Gradient methods whose weights follow from the Gram matrix of the task gradients."""

from __future__ import annotations

import dataclasses
import logging
from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination, GradientWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.core.task_gradients import TaskGradients
from mtl_methods.core.writing import backward_two_ways
from mtl_methods.exact_gram import (
    FactoredGradients,
    GramPlan,
    Recipes,
    Workspace,
    factored_gradients,
)

__all__ = ["GramWeighting"]

logger = logging.getLogger("mtl_methods")

_NO_GRADIENT = "zero_gradient"
_REPEATED = 31  # steps of the same tasks and parameters for which the plain path is not questioned


class GramWeighting(GradientWeighting):
    """A gradient method whose weights follow from the Gram matrix.

    A subclass gives :meth:`solve`. Tasks whose gradient is exactly zero have nothing to add and
    would make most of these problems unsolvable: they get weight 0, counted as
    ``zero_gradient``, and the rest is solved without them.

    Attributes:
        gram_plan: How the last step found the Gram matrix, and why; ``None`` before the first one
            and with gradients on features. A choice of the plain path stands for a while, as long
            as tasks and shared parameters are the same.
    """

    needs_rows: ClassVar[bool] = False

    gram_path: str = hyperparameter(
        "auto",
        choices=("auto", "plain", "exact"),
        source="the same result at another cost",
        description=(
            "How the Gram matrix is found: from K gradients (plain), from layer inputs and output "
            "gradients wherever a rule allows it (exact), or whichever costs less (auto)."
        ),
    )
    update_weights_every: int = hyperparameter(
        1,
        low=1,
        source="Nash-MTL (Navon et al., 2022), section 6.1",
        description=(
            "Find new weights every so many steps; steps between cost one backward pass through "
            "the trunk."
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.state["step"] = 0
        self.state["kept_weights"] = {}
        self.gram_plan: GramPlan | None = None
        self._workspace, self._recipes = Workspace(), Recipes()
        self._plain_for = 0
        self._plain_structure: tuple[int, ...] = ()

    def _differentiate(self, inputs: StepInputs) -> TaskGradients | FactoredGradients:
        if self.gradients_on == "features" or self.needs_rows:
            return super()._differentiate(inputs)
        if self.gram_path == "plain":
            self.gram_plan = GramPlan("plain", "as configured")
            return super()._differentiate(inputs)
        structure = (len(inputs.losses), *map(id, inputs.shared))
        if self._plain_for > 0 and structure == self._plain_structure:
            self._plain_for -= 1  # a verdict about cost, not about the result
            return super()._differentiate(inputs)
        found = factored_gradients(
            inputs.losses,
            inputs.shared,
            inputs.heads,
            scale=inputs.grad_scale,
            workspace=self._workspace,
            recipes=self._recipes,
            forced=self.gram_path == "exact",
        )
        known, self.gram_plan = self.gram_plan, found.plan
        if known is None or (known.path, known.reason) != (found.plan.path, found.plan.reason):
            logger.info("%s: %s", self.name, found.plan)
        if isinstance(found, FactoredGradients):
            return found
        if self.gram_path == "auto":
            self._plain_for, self._plain_structure = _REPEATED, structure
        return super()._differentiate(inputs)

    @abstractmethod
    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """Finds the weights.

        Args:
            gram: Gram matrix of the non-zero task gradients, shape (K', K'), K' >= 1.
            inputs: The step, reduced to the same K' tasks.

        Returns:
            A decision with weights of shape (K',).
        """

    def combine(self, matrix: Tensor, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The weights of :meth:`solve`, 0 for tasks without gradient."""
        squares = gram.diagonal()
        if min(squares.tolist()) > 0.0:
            return self.solve(gram, inputs)
        present = np.flatnonzero(squares > 0.0)
        weights = np.zeros(len(inputs.tasks))
        head_weights = np.ones(len(inputs.tasks))
        absent = ", ".join(t for i, t in enumerate(inputs.tasks) if i not in present)
        if len(present):
            decision = self.solve(gram[np.ix_(present, present)], _subset(inputs, present))
            assert decision.weights is not None
            weights[present] = decision.weights
            found = decision.head_weights
            head_weights[present] = decision.weights if found is None else found
        else:
            decision = Combination()
        decision.weights = weights
        decision.head_weights = head_weights
        decision.events.append(
            (_NO_GRADIENT, f"no gradient on the shared parameters from {absent}: weight 0")
        )
        return decision

    def _step_with_coefficients(
        self, inputs: StepInputs, coefficients: NDArray[np.float64] | None
    ) -> None:
        step: int = self.state["step"]
        kept: dict[str, list[float]] = self.state["kept_weights"]
        due = step % self.update_weights_every == 0
        if due or any(task not in kept for task in inputs.tasks):
            super()._step_with_coefficients(inputs, coefficients)
            if self.update_weights_every > 1:
                self._keep(inputs, coefficients, kept)
        else:
            self._reuse_weights(inputs, coefficients, kept)
        self.state["step"] = step + 1

    def _keep(
        self,
        inputs: StepInputs,
        coefficients: NDArray[np.float64] | None,
        kept: dict[str, list[float]],
    ) -> None:
        """Keeps each task's weights on shared parameters and head, in units of its loss.

        Weights that are all 0 (Pareto-stationary) are no weights to keep: the next step looks anew.
        """
        weights = self.last_step.weights
        if weights is None or not weights.any():
            kept.clear()
            return
        scales = np.ones(len(inputs.tasks)) if coefficients is None else coefficients
        rows = zip(
            inputs.tasks,
            weights.tolist(),
            self._head_factors.tolist(),
            scales.tolist(),
            strict=True,
        )
        for task, weight, head, scale in rows:
            unit = scale or 1.0
            kept[task] = [weight / unit, head / unit]

    def _reuse_weights(
        self,
        inputs: StepInputs,
        coefficients: NDArray[np.float64] | None,
        kept: dict[str, list[float]],
    ) -> None:
        """A step between two updates of the weights: a weighted sum of losses."""
        scales = np.ones(len(inputs.tasks)) if coefficients is None else coefficients
        self.last_step.loss_scales = coefficients
        shared_heads = np.array([kept[task] for task in inputs.tasks]) * scales[:, None]
        factors = (shared_heads * inputs.grad_scale).T.tolist()
        backward_two_ways(
            inputs.losses, factors[0], factors[1], inputs.shared, inputs.heads, inputs.joined
        )
        self.last_step.tell_weights(shared_heads[:, 0], inputs.losses[0])


def _subset(inputs: StepInputs, present: NDArray[np.int64]) -> StepInputs:
    rows = present.tolist()
    return dataclasses.replace(
        inputs,
        tasks=tuple(inputs.tasks[i] for i in rows),
        losses=tuple(inputs.losses[i] for i in rows),
        numbers=tuple(inputs.numbers[i] for i in rows),
        index=inputs.index[rows],
    )
