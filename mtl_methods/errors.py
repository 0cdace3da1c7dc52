"""Every error that fairsweep raises on purpose, under one base class.

A message is one sentence a user can act on: what is wrong, where, and what is valid instead.
"""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "FairsweepError",
    "MissingNeedError",
    "NonFiniteGradientError",
    "NonFiniteLossError",
    "ParetoStationaryError",
    "SolverError",
    "TaskError",
    "UnknownNameError",
]


class FairsweepError(Exception):
    """Base of every error that fairsweep raises on purpose."""


class ConfigurationError(FairsweepError, ValueError):
    """A setting has the wrong type or lies outside its valid range."""


class UnknownNameError(ConfigurationError):
    """A name (of a method, a problem, a hyper-parameter) does not exist."""


class TaskError(FairsweepError, ValueError):
    """The losses of a step do not fit the tasks of the method or its inputs."""


class MissingNeedError(FairsweepError, TypeError):
    """A method was not given something that it declares in its ``needs``."""


class NonFiniteLossError(FairsweepError, FloatingPointError):
    """A loss is NaN or infinite.

    Attributes:
        task: The first task with such a loss.
        value: That loss.
    """

    def __init__(self, task: str, value: float) -> None:
        self.task = task
        self.value = value
        super().__init__(f"the loss of task {task!r} is {value}, so no step can be taken")

    def __reduce__(self) -> tuple[type[NonFiniteLossError], tuple[str, float]]:
        return type(self), (self.task, self.value)


class NonFiniteGradientError(FairsweepError, FloatingPointError):
    """A task gradient on the shared parameters is NaN or infinite.

    Attributes:
        task: The first task with such a gradient.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        super().__init__(
            f"the gradient of task {task!r} on the shared parameters is not finite "
            "although its loss is, so no step can be taken"
        )

    def __reduce__(self) -> tuple[type[NonFiniteGradientError], tuple[str]]:
        return type(self), (self.task,)


class SolverError(FairsweepError, ArithmeticError):
    """A solver missed its tolerance."""


class ParetoStationaryError(SolverError):
    """A convex combination of the task gradients vanishes: the equation has no solution."""
