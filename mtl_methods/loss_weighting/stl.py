"""Single-task learning: one task alone, the reference of every measure."""

from __future__ import annotations

from typing import ClassVar

import torch

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.errors import TaskError

__all__ = ["STL"]


class STL(LossWeighting):
    """Trains one task and ignores the others: weight 1 for it, 0 for the rest.

    A batch without the task is refused, since there would be nothing to learn from it.

    Source: the single-task baseline of every paper.
    """

    name: ClassVar[str] = "stl"
    summary: ClassVar[str] = "Single-task learning: trains one task alone, the baseline."
    paper: ClassVar[str] = "baseline of every paper"
    equation: ClassVar[str] = "min l_t"
    scale_law: ClassVar[str] = "invariant"
    permutation_equivariant: ClassVar[bool] = False  # the first task is the default

    task: str | None = hyperparameter(
        None,
        kind="str",
        source="baseline of every paper",
        description="The task to train; the first one if none is named.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: the weights are fixed."""
        return 0.0

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        if self.task is not None and self.task not in self.tasks:
            raise TaskError(
                f"stl: task = {self.task!r} is none of the tasks {', '.join(self.tasks)}"
            )

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """One-hot, K numbers."""
        wanted = self.tasks[0] if self.task is None else self.task
        if wanted not in inputs.tasks:
            raise TaskError(f"stl: the batch has no loss of the task {wanted!r}")
        return [float(task == wanted) for task in inputs.tasks]
