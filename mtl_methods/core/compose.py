"""Loss transforms, a loss weighting and a gradient weighting together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mtl_methods.core.gradient_weighting import GradientWeighting
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import Family, Method, Need, StepInputs, StepRecord
from mtl_methods.core.saved_state import check_head, check_same_tasks, entry
from mtl_methods.core.transform import LossTransform, TransformedMethod
from mtl_methods.errors import ConfigurationError

__all__ = ["ComposedMethod", "compose"]


class ComposedMethod(Method):
    """A loss weighting whose weighted losses a gradient weighting combines.

    With ``a_k`` the coefficients of the loss weighting and ``b_k`` the weights that the gradient
    weighting finds for the gradients ``a_k g_k``, the shared update is ``sum_k a_k b_k g_k`` and
    the effective weights are ``a_k b_k``. Heads receive ``a_k`` where the gradient weighting's
    ``head_weighting`` is ``"unit"``, ``a_k b_k`` where it is ``"same"``.

    Source: Lin et al., "Reasonable Effectiveness of Random Weighting" (TMLR 2022), Table 4.
    """

    family: ClassVar[Family] = "composed"

    def __init__(self, loss: LossWeighting, gradient: GradientWeighting | LossWeighting) -> None:
        self.loss = loss
        self.gradient = gradient
        self.__post_init__()
        vars(self)["name"] = f"{loss.name}+{gradient.name}"
        vars(self)["needs"] = loss.needs | gradient.needs
        vars(self)["backward_passes"] = gradient.backward_passes
        if Need.EXTRA_BATCHES in gradient.needs:
            vars(self)["extra_batches"] = getattr(gradient, "extra_batches", 1)
        vars(self)["permutation_equivariant"] = (
            loss.permutation_equivariant and gradient.permutation_equivariant
        )
        self.own = nn.ModuleDict({"loss": loss.own, "gradient": gradient.own})

    @property
    def scale_exponent(self) -> float | None:
        """Of the product: the gradient weighting sees losses that the loss weighting scaled."""
        first, second = self.loss.scale_exponent, self.gradient.scale_exponent
        return None if first is None or second is None else first + (1.0 + first) * second

    @property
    def awaits_epoch(self) -> bool:
        """Whether a part does."""
        return self.loss.awaits_epoch or self.gradient.awaits_epoch

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        for part in (self.loss, self.gradient):
            part.setup(self.tasks, device=device, dtype=dtype, feature_dim=feature_dim)

    def seed(self, seed: int) -> None:
        """Seeds both parts."""
        self.loss.seed(seed)
        self.gradient.seed(seed + 1)

    def settings(self) -> dict[str, Any]:
        """The settings of both parts, with the part's name before each."""
        return {
            f"{part.name}.{key}": value
            for part in (self.loss, self.gradient)
            for key, value in part.settings().items()
        }

    def _step(self, inputs: StepInputs) -> None:
        self.loss.last_step = StepRecord(tasks=inputs.tasks)
        self.gradient.last_step = self.last_step
        coefficients = np.array(self.loss.coefficient_numbers(inputs))
        self.last_step.loss_scales = coefficients
        self.last_step.events.extend(self.loss.last_step.events)
        self.gradient._step_with_coefficients(inputs, coefficients)

    def task_features(self, task: str, features: Tensor) -> Tensor:
        """What the gradient weighting wants the head of a task to read."""
        return self.gradient.task_features(task, features)

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Passes the losses on to both parts."""
        self.loss.after_step(losses)
        self.gradient.after_step(losses)

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Passes the epoch on to both parts."""
        for part in (self.loss, self.gradient):
            part.end_epoch(
                epoch=epoch, train_losses=train_losses, performance_drops=performance_drops
            )

    def state_dict(self) -> dict[str, Any]:
        """The states of both parts."""
        return {
            "name": self.name,
            "tasks": list(self.tasks),
            "loss": self.loss.state_dict(),
            "gradient": self.gradient.state_dict(),
            "counters": dict(self.counters),
        }

    def _check_state(self, state: Mapping[str, Any]) -> None:
        check_head(self.name, self.tasks, state)
        for key, part in (("loss", self.loss), ("gradient", self.gradient)):
            check_same_tasks(self.name, state, entry(self.name, state, key, Mapping))
            part._check_state(state[key])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores both parts.

        Raises:
            TaskError: If it is no state of this composition, or one for other tasks. Nothing is
                changed.
        """
        self._check_state(state)
        self.loss.load_state_dict(state["loss"])
        self.gradient.load_state_dict(state["gradient"])
        if state["tasks"]:
            self.setup(state["tasks"])
        self.counters = dict(state["counters"])


def compose(*parts: Method | LossTransform) -> Method:
    """Joins loss transforms, a loss weighting and a gradient weighting, in this order.

    ``compose(FAMO(), CAGrad(c=0.4))`` weights losses by FAMO and combines the gradients of the
    weighted losses by CAGrad; ``compose(Log(), UW(), CAGrad())`` does so with the logarithms of
    the losses. Transforms go before any method, a single one included. Equal weighting (``LS()``)
    is the identity of both weightings, ``Identity()`` that of transforms.

    Raises:
        ConfigurationError: If a part is neither method nor transform, or they do not go together.
    """
    for part in parts:
        if not isinstance(part, Method | LossTransform):
            raise ConfigurationError(
                "compose takes methods and loss transforms, or their names, got "
                + _describe_stranger(part)
            )
    transforms = [part for part in parts if isinstance(part, LossTransform)]
    methods = [part for part in parts if isinstance(part, Method)]
    names = [transform.name for transform in transforms]
    in_order = parts[: len(transforms)] == tuple(transforms)
    method = _join(methods) if len(parts) > 1 and in_order else None
    if method is None or len(set(names)) < len(names):
        got = ", ".join(_describe(part) for part in parts) or "nothing"
        raise ConfigurationError(
            "compose takes loss transforms (each at most once), then one loss weighting, then one "
            f"gradient weighting, and not a part alone; got {got}"
        )
    return TransformedMethod(transforms, method) if transforms else method


def _join(methods: list[Method]) -> Method | None:
    if len(methods) == 1:
        return methods[0]
    if len(methods) == 2 and isinstance(methods[0], LossWeighting):
        last = methods[1]
        if isinstance(last, GradientWeighting) or (
            isinstance(last, LossWeighting) and last.combines_gradients
        ):
            return ComposedMethod(methods[0], last)
    return None


def _describe_stranger(part: object) -> str:
    if isinstance(part, type) and issubclass(part, Method | LossTransform):
        return f"the class {part.__name__}: make an instance of it, {part.__name__}()"
    return repr(part)


def _describe(part: Method | LossTransform) -> str:
    return f"{part.name} ({part.family if isinstance(part, Method) else 'transform'})"
