"""What a loss transform is, and a method that sees transformed losses."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mtl_methods.configuration import Configurable
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import Family, Method, Need, StepInputs
from mtl_methods.core.saved_state import check_head, check_name, check_same_tasks, entry
from mtl_methods.core.writing import without_autocast
from mtl_methods.errors import TaskError

__all__ = ["LossTransform", "TransformedMethod"]

Closure = Callable[..., Mapping[str, Tensor]]


class LossTransform(Configurable, ABC):
    """An increasing function of each loss that is applied before a method sees the losses.

    Class attributes:
        summary: What it does, in one line.
        paper: Its source.
        equation: The function in one line of text.
        deviations: Where papers and published code disagree.
    """

    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    equation: ClassVar[str] = ""
    deviations: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.state: dict[str, Any] = {}

    def observe(self, tasks: Sequence[str], values: Tensor) -> None:
        """Takes note of the losses of a step before they are transformed; nothing by default.

        Args:
            tasks: K task names.
            values: Their losses, shape (K,), float64.
        """

    @abstractmethod
    def __call__(self, tasks: Sequence[str], losses: Tensor) -> Tensor:
        """The transformed losses, differentiable.

        Args:
            tasks: K task names.
            losses: Shape (K,).

        Returns:
            Shape (K,).

        Raises:
            TaskError: If a loss is outside the function's domain; names its task.
        """

    def knows(self, task: str) -> bool:
        """Whether the transform can be applied to the losses of a task already."""
        return True

    def end_epoch(self) -> None:
        """Tells that an epoch ended; nothing by default."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes the next step."""
        return {"name": self.name, "state": copy.deepcopy(self.state)}

    def _check_state(self, state: Mapping[str, Any]) -> None:
        """Refuses what is no state of this transform."""
        check_name(self.name, state)
        entry(self.name, state, "state", Mapping)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`.

        Raises:
            TaskError: If it is no state of this transform.
        """
        self._check_state(state)
        self.state = copy.deepcopy(dict(state["state"]))


class TransformedMethod(Method):
    """A method that balances transformed losses ``phi(l_k)`` instead of the losses.

    Everything that the method does, it does with the transformed losses: their values, their
    gradients ``phi'(l_k) g_k``, those of further batches and of a closure, the losses after the
    step. With ``w_k`` its weights, the effective weights are ``w_k phi'(l_k)``; "unit" heads
    receive ``phi'(l_k)``. Mean losses of an epoch are told as the transform of the mean.

    Source: Ban and Ji, "Fair Resource Allocation in Multi-Task Learning" (ICML 2024), section 6.
    """

    family: ClassVar[Family] = "composed"

    def __init__(self, transforms: Sequence[LossTransform], method: Method) -> None:
        self.transforms = tuple(transforms)
        self.method = method
        self.__post_init__()
        vars(self)["name"] = "+".join([*(t.name for t in self.transforms), method.name])
        vars(self)["needs"] = method.needs
        vars(self)["backward_passes"] = method.backward_passes
        vars(self)["permutation_equivariant"] = method.permutation_equivariant
        if Need.EXTRA_BATCHES in method.needs:
            vars(self)["extra_batches"] = getattr(method, "extra_batches", 1)
        self.own = nn.ModuleDict({"method": method.own})

    @property
    def awaits_epoch(self) -> bool:
        """Whether the method does."""
        return self.method.awaits_epoch

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.method.setup(self.tasks, device=device, dtype=dtype, feature_dim=feature_dim)

    def seed(self, seed: int) -> None:
        """Seeds the method."""
        self.method.seed(seed)

    def settings(self) -> dict[str, Any]:
        """The settings of all parts, with the part's name before each."""
        own = {f"{t.name}.{key}": value for t in self.transforms for key, value in _items(t)}
        rest = self.method.settings()
        if "+" not in self.method.name:
            rest = {f"{self.method.name}.{key}": value for key, value in rest.items()}
        return own | rest

    def _transform(self, tasks: Sequence[str], losses: Tensor) -> Tensor:
        for transform in self.transforms:
            losses = transform(tasks, losses)
        return losses

    def _transform_all(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Transformed scalar losses, each with its own graph."""
        return {
            task: self._transform((task,), loss.reshape(1)).reshape(())
            for task, loss in losses.items()
            if all(transform.knows(task) for transform in self.transforms)
        }

    def _step(self, inputs: StepInputs) -> None:
        with torch.enable_grad(), without_autocast("cpu"):
            raw = inputs.values.detach().requires_grad_()
            values = raw
            for transform in self.transforms:
                transform.observe(inputs.tasks, values.detach())
                values = transform(inputs.tasks, values)
            (slopes,) = torch.autograd.grad(values.sum(), raw)
        values = values.detach()
        finite = torch.isfinite(values) & torch.isfinite(slopes)
        if not bool(finite.all()):
            task = inputs.tasks[int((~finite).nonzero()[0])]
            raise TaskError(
                f"{self.name}: the transformed loss of task {task!r} or its derivative overflows"
            )
        self.method.last_step = self.last_step
        extra = self._extra(inputs.extra)
        if isinstance(self.method, LossWeighting):  # no graph of its own: slopes as coefficients
            seen = dataclasses.replace(inputs, numbers=tuple(values.tolist()), extra=extra)
            self.method._step_with_coefficients(seen, slopes.numpy())
            return
        self.method._step(_replaced(inputs, values, slopes, extra))
        record = self.last_step
        scales = slopes.numpy()
        record.loss_scales = scales if record.loss_scales is None else record.loss_scales * scales
        if record.weights is not None:
            record.weights = record.weights * slopes.to(record.weights)
        if record.gram is not None:
            factors = slopes.numpy()
            with np.errstate(divide="ignore", invalid="ignore"):
                gram = record.gram / np.outer(factors, factors)
            record.gram = gram if np.isfinite(gram).all() else None

    def _extra(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Further inputs with transformed losses."""
        given = dict(extra)
        if Need.VALIDATION_BATCH in self.needs and "closure" in given:
            closure: Closure = given["closure"]

            def transformed(parameters: Mapping[str, Tensor], split: str) -> Mapping[str, Tensor]:
                losses = closure(parameters, split)
                return self._transform_all(losses) if isinstance(losses, Mapping) else losses

            given["closure"] = transformed
        if Need.EXTRA_BATCHES in self.needs and "extra_losses" in given:
            batches: Sequence[Mapping[str, Tensor]] = given["extra_losses"]
            given["extra_losses"] = [self._transform_all(losses) for losses in batches]
        return given

    def task_features(self, task: str, features: Tensor) -> Tensor:
        """What the method wants the head of a task to read."""
        return self.method.task_features(task, features)

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Passes on the transformed losses after the optimiser's step."""
        if Need.LOSSES_AFTER_STEP in self.needs:
            with torch.no_grad():
                self.method.after_step(self._transform_all(losses))

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Passes on the epoch, with the transforms of the mean training losses."""
        means = {
            task: torch.tensor(float(value), dtype=torch.float64, device="cpu")
            for task, value in train_losses.items()
        }
        transformed = {task: float(loss) for task, loss in self._transform_all(means).items()}
        self.method.end_epoch(
            epoch=epoch, train_losses=transformed, performance_drops=performance_drops
        )
        for transform in self.transforms:
            transform.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """The states of all parts."""
        return {
            "name": self.name,
            "tasks": list(self.tasks),
            "transforms": [transform.state_dict() for transform in self.transforms],
            "method": self.method.state_dict(),
            "counters": dict(self.counters),
        }

    def _check_state(self, state: Mapping[str, Any]) -> None:
        check_head(self.name, self.tasks, state)
        parts = entry(self.name, state, "transforms", Sequence)
        if len(parts) != len(self.transforms):
            raise TaskError(
                f"{self.name}: the state is for {len(parts)} transforms, this method has "
                f"{len(self.transforms)}"
            )
        for transform, part in zip(self.transforms, parts, strict=True):
            transform._check_state(part)
        check_same_tasks(self.name, state, entry(self.name, state, "method", Mapping))
        self.method._check_state(state["method"])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores all parts.

        Raises:
            TaskError: If it is no state of this method, or one for other tasks. Nothing is changed.
        """
        self._check_state(state)
        for transform, part in zip(self.transforms, state["transforms"], strict=True):
            transform.load_state_dict(part)
        self.method.load_state_dict(state["method"])
        if state["tasks"]:
            self.setup(state["tasks"])
        self.counters = dict(state["counters"])


def _items(part: Configurable) -> list[tuple[str, Any]]:
    return list(part.settings().items())


def _replaced(
    inputs: StepInputs, values: Tensor, slopes: Tensor, extra: Mapping[str, Any]
) -> StepInputs:
    """The step with losses of given values, whose derivatives by the raw losses are the slopes.

    A transformed loss is written as its value plus slope times zero-valued loss, so that value and
    derivative are those found in float64, and one small node of the graph is all it costs.
    """
    first = inputs.losses[0]
    placed = values.to(first.device, torch.promote_types(first.dtype, torch.float32))
    losses = []
    for loss, value, slope in zip(inputs.losses, placed.unbind(), slopes.tolist(), strict=True):
        wide = loss.reshape(()).to(placed.dtype)
        losses.append(torch.add(value, wide - wide.detach(), alpha=slope))
    return dataclasses.replace(
        inputs,
        losses=tuple(losses),
        numbers=tuple(values.tolist()),
        extra=extra,
    )
