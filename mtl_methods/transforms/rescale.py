"""Losses relative to their first values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.positive import above_floor
from mtl_methods.core.transform import LossTransform
from mtl_methods.errors import TaskError

__all__ = ["Rescale"]


class Rescale(LossTransform):
    """Divides each loss by the first value that was seen of it, so that every task starts at 1.

    A task's first value is that of the first step in which it appears.

    Source: Xiao et al., "LDC-MTL", appendix A.1 (rescaled normalisation); Chen et al., "GradNorm"
    (ICML 2018), the loss ratios of section 3.
    """

    name: ClassVar[str] = "rescale"
    summary: ClassVar[str] = "Losses relative to their first values."
    paper: ClassVar[str] = "Xiao et al., LDC-MTL, appendix A.1"
    equation: ClassVar[str] = "l / l(0)"
    deviations: ClassVar[tuple[str, ...]] = (
        "LDC-MTL's NYUv2 code divides by l(0) / min_j l_j(0): the same up to a common factor.",
    )

    renew_each_epoch: bool = hyperparameter(
        False,
        source="LDC-MTL appendix A.1: once; its QM9 code: each epoch",
        description="Whether first values are read anew at the start of each epoch.",
    )

    def observe(self, tasks: Sequence[str], values: Tensor) -> None:
        """Keeps the first loss of each task."""
        new = [k for k, task in enumerate(tasks) if task not in self.state]
        if new:
            names = tuple(tasks[k] for k in new)
            first = above_floor(f"{self.name} (first losses)", names, values[new], 0.0)
            self.state.update(zip(names, first.tolist(), strict=True))

    def knows(self, task: str) -> bool:
        """Whether the first loss of a task is known."""
        return task in self.state

    def __call__(self, tasks: Sequence[str], losses: Tensor) -> Tensor:
        """``l / l(0)``, shape (K,)."""
        unknown = [task for task in tasks if task not in self.state]
        if unknown:
            raise TaskError(f"{self.name}: there was no first loss of task {unknown[0]!r} yet")
        first = [self.state[task] for task in tasks]
        return losses / torch.tensor(first, dtype=losses.dtype, device=losses.device)

    def end_epoch(self) -> None:
        """Forgets the first losses where each epoch has its own."""
        if self.renew_each_epoch:
            self.state = {}
