"""Linear scalarisation along a course: static weights that change at given epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.errors import ConfigurationError, TaskError

__all__ = ["LSCourse", "course_text"]

Course = tuple[tuple[int, tuple[float, ...]], ...]


class LSCourse(LossWeighting):
    """Minimises ``sum_k w_k(t) l_k`` with weights that are given for every epoch t.

    A course names the weights, in task order, from an epoch on (counted from 0) until the next one
    that it names: ``"0: 1 1; 5: 0.6 1.4"``. This is how a course of weights that was found
    elsewhere, by population-based training say, is trained again. Without a course all weights
    are 1. Tell epochs with :meth:`end_epoch`; a loop that does not stays at the first weights.

    Source: Royer, Blankevoort and Bejnordi, "Scalarization for Multi-Task and Multi-Domain
    Learning at Scale" (NeurIPS 2023), whose population-based training finds such courses.
    """

    name: ClassVar[str] = "ls_course"
    summary: ClassVar[str] = "Linear scalarisation with weights that change at given epochs."
    paper: ClassVar[str] = "Royer, Blankevoort and Bejnordi, NeurIPS 2023"
    equation: ClassVar[str] = "min sum_k w_k(t) l_k, w(t) given for every epoch t"
    scale_law: ClassVar[str] = "invariant"
    same_as: ClassVar[tuple[str, ...]] = ("ls", "dwa")

    course: str | None = hyperparameter(
        None,
        kind="str",
        source="any; weights that sum to K keep the scale of equal weights",
        description="Weights in task order by the epoch they begin at: '0: 1 1; 5: 0.6 1.4'.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._course = _parsed(self.course)

    @property
    def scale_exponent(self) -> float | None:
        """0: the weights are given."""
        return 0.0

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        for epoch, weights in self._course:
            if len(weights) != len(self.tasks):
                raise TaskError(
                    f"ls_course: course: {len(weights)} weights are given from epoch {epoch} on "
                    f"for {len(self.tasks)} tasks ({', '.join(self.tasks)})"
                )
        self.state["epoch"] = 0

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """The weights of the epoch for the present tasks, K numbers."""
        table: Sequence[float] = [1.0] * len(self.tasks)
        for epoch, weights in self._course:
            if epoch <= self.state["epoch"]:
                table = weights
        return [table[k] for k in inputs.index.tolist()]

    @property
    def awaits_epoch(self) -> bool:
        """With more than one entry, until an epoch was told."""
        return len(self._course) > 1 and not self.state.get("epoch", 0)

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Goes on to the weights of the next epoch."""
        self.state["epoch"] = epoch + 1


def course_text(course: Sequence[tuple[int, Sequence[float]]]) -> str:
    """A course as a setting, every number in full.

    Args:
        course: The epoch from which on, counted from 0, and the weights in task order.
    """
    return "; ".join(
        f"{epoch}: " + " ".join(repr(float(weight)) for weight in weights)
        for epoch, weights in course
    )


def _parsed(text: str | None) -> Course:
    if text is None:
        return ()
    course: list[tuple[int, tuple[float, ...]]] = []
    for entry in text.split(";"):
        epoch, colon, weights = entry.partition(":")
        try:
            course.append((int(epoch), tuple(float(weight) for weight in weights.split())))
        except ValueError as error:
            raise _invalid(text) from error
        numbers = course[-1][1]
        if not colon or not numbers or not any(numbers):
            raise _invalid(text)
        if any(not math.isfinite(number) or number < 0 for number in numbers):
            raise _invalid(text)
    epochs = [epoch for epoch, _ in course]
    if epochs[0] != 0 or epochs != sorted(set(epochs)):
        raise _invalid(text)
    return tuple(course)


def _invalid(text: str) -> ConfigurationError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return ConfigurationError(
        f"ls_course: course = {shown!r} is not valid; it must be like '0: 1 1; 5: 0.6 1.4': epochs "
        "that begin with 0 and rise, each with finite weights >= 0 in task order, not all 0"
    )
