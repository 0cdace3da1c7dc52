"""The plan of a step: which way each shared parameter goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["GramPlan", "ParameterPlan"]


@dataclass(frozen=True, eq=False)
class ParameterPlan:
    """The way of one shared parameter.

    Attributes:
        parameter: The parameter.
        way: ``"exact"`` (from layer inputs and output gradients) or ``"plain"`` (K gradients).
        reason: Why this way, in a few words.
    """

    parameter: Tensor = field(repr=False)
    way: str
    reason: str


@dataclass(frozen=True, eq=False)
class GramPlan:
    """How a step finds the Gram matrix; ``str(plan)`` is a line for logs.

    Attributes:
        path: ``"exact"`` if any parameter goes that way, else ``"plain"``.
        reason: Why, in one clause.
        parameters: The ways of the shared parameters in use; empty if the plain path was taken
            without a look at them.
        tasks_at_once: How many tasks travel down the trunk together.
    """

    path: str
    reason: str
    parameters: tuple[ParameterPlan, ...] = ()
    tasks_at_once: int = 1

    def __str__(self) -> str:
        text = f"Gram path {self.path}: {self.reason}"
        if self.path == "exact":
            text += f"; {self.tasks_at_once} task(s) at once"
        ways = Counter((plan.way, plan.reason) for plan in self.parameters)
        listed = [f"{count} {way} ({reason})" for (way, reason), count in ways.items()]
        return text + ("; parameters: " + ", ".join(listed) if listed else "")
