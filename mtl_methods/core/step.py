"""What a step takes and what it leaves behind: needs, inputs, records."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_methods.core.writing import device_of, joined_losses

__all__ = ["Family", "Need", "StepInputs", "StepRecord"]

Family = Literal["loss", "gradient", "composed", "bilevel"]


class Need(enum.Enum):
    """What a method must be given beyond ``losses`` and ``shared``; the caller serves needs."""

    LOSSES = "losses"
    LOSSES_AFTER_STEP = "losses after the step"
    GRAM = "Gram matrix of task gradients"
    GRADIENTS = "full task gradients"
    FEATURES = "shared features"
    TASK_FEATURES = "heads that read features through the method"
    LINEAR_HEADS = "heads of one linear layer on the shared features"
    VALIDATION_BATCH = "validation batch and functional model"
    EXTRA_BATCHES = "several batches per step"
    PERFORMANCE_DROPS = "performance drops per epoch"
    OWN_PARAMETERS = "own trainable parameters in the optimiser"


class _Numbers(NamedTuple):
    """One number per task, not a tensor yet."""

    numbers: Sequence[float] | NDArray[np.float64]
    dtype: torch.dtype
    device: torch.device


class _TensorOnceRead:
    """A field of a dataclass, ``None`` by default, whose numbers become a tensor when it is read.

    A step of a small model takes the time of a few dozen calls of PyTorch, and most steps' weights
    are never looked at.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, record: object | None, owner: type | None = None) -> Tensor | None:
        if record is None:
            return None  # the default
        value: Tensor | _Numbers | None = vars(record).get(self._name)
        if isinstance(value, _Numbers):
            with torch.inference_mode(False):  # whoever reads first, others may compute with it
                value = torch.tensor(value.numbers, dtype=value.dtype, device=value.device)
            vars(record)[self._name] = value
        return value

    def __set__(self, record: object, value: Tensor | _Numbers | None) -> None:
        vars(record)[self._name] = value

    def __delete__(self, record: object) -> None:
        del vars(record)[self._name]


@dataclass
class StepRecord:
    """What happened in one step, for logs.

    Attributes:
        tasks: The tasks of the step, in the order of its losses; length K.
        weights: Effective weights, shape (K,): the coefficient of each raw task gradient in the
            shared update; ``None`` where the method has none by nature.
        loss_scales: Coefficients of the losses before their gradients are combined (loss
            weighting of a composition, derivative of a transform), shape (K,), float64: what heads
            of weight "unit" get; ``None`` for 1.
        gram: Gram matrix of the raw task gradients, shape (K, K), float64; ``None`` if the
            method did not compute it.
        residual: Relative residual of the weight solver; ``None`` without a solver.
        iterations: Iterations of the weight solver.
        solve_seconds: Seconds spent on finding the weights, given losses or gradients.
        events: Names of rare events in this step (also counted in ``method.counters``).
    """

    tasks: tuple[str, ...] = ()
    weights: Tensor | None = _TensorOnceRead()  # type: ignore[assignment]
    loss_scales: NDArray[np.float64] | None = None
    gram: NDArray[np.float64] | None = None
    residual: float | None = None
    iterations: int = 0
    solve_seconds: float = 0.0
    events: list[str] = field(default_factory=list)

    def tell_weights(self, numbers: Sequence[float] | NDArray[np.float64], like: Tensor) -> None:
        """Sets the weights, which become a tensor when somebody reads them.

        Args:
            numbers: K numbers, which nobody changes afterwards.
            like: A tensor on their device; they are float64 if it is, else float32.
        """
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        vars(self)["weights"] = _Numbers(numbers, dtype, device_of(like))


@dataclass(frozen=True)
class StepInputs:
    """One step's inputs, checked and in canonical form.

    Attributes:
        tasks: The K tasks present, in the order of the method's tasks, whatever the order of the
            losses was.
        losses: The K scalar losses, with their graphs.
        numbers: Their values, K numbers.
        index: Position of each present task among the method's tasks, shape (K,), int64.
        shared: The shared parameters that require a gradient.
        heads: The parameters that count as heads; ``None`` for every other leaf of the graph.
        features: The shared features, ``None`` if not given.
        grad_scale: Factor on every gradient that is written (loss scaling of mixed precision).
        extra: Further inputs for declared needs.
    """

    tasks: tuple[str, ...]
    losses: tuple[Tensor, ...]
    numbers: tuple[float, ...]
    index: Tensor
    shared: tuple[Tensor, ...]
    heads: tuple[Tensor, ...] | None
    features: tuple[Tensor, ...] | None
    grad_scale: float
    extra: Mapping[str, Any]

    @cached_property
    def joined(self) -> Tensor | None:
        """The losses as one vector with its graph, shape (K,).

        ``None`` unless they are scalars of one type on one device.
        """
        return joined_losses(self.losses)

    @cached_property
    def values(self) -> Tensor:
        """The values of the losses, float64 on the CPU, shape (K,)."""
        return torch.tensor(self.numbers, dtype=torch.float64, device="cpu")
