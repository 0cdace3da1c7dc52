"""Derivatives of validation losses, after training steps, by the weights of those steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.lower_level import LowerLevel, dense
from mtl_methods.core.method import Family, Need
from mtl_methods.errors import ConfigurationError

__all__ = ["BilevelWeighting", "hypergradient_option", "hypergradients", "inner_lr_option"]

Way = Literal["exact", "finite_difference"]

_REACH = 0.01  # length of the finite difference in parameter space, of the Auto-Lambda code


class BilevelWeighting(LossWeighting):
    """A loss weighting whose own weights descend the validation losses of the trained model."""

    family: ClassVar[Family] = "bilevel"
    needs: ClassVar[frozenset[Need]] = frozenset(
        {Need.LOSSES, Need.VALIDATION_BATCH, Need.OWN_PARAMETERS}
    )

    @property
    def scale_exponent(self) -> float | None:
        """0, with the own weights held fixed."""
        return 0.0


def hypergradient_option() -> Any:
    """The hyper-parameter ``hypergradient``."""
    return hyperparameter(
        "exact",
        choices=("exact", "finite_difference"),
        source="exact: the derivative in the paper; finite_difference: Auto-Lambda and its code",
        description=(
            "How the derivative of validation losses by weights is had: through the training step "
            "(twice differentiable models), or from training losses at two nearby points."
        ),
    )


def inner_lr_option() -> Any:
    """The hyper-parameter ``inner_lr``."""
    return hyperparameter(
        None,
        kind="float",
        low=0.0,
        low_open=True,
        source="the model's current learning rate, as in the published code",
        description="Length of the look-ahead steps; default: the learning rate of the model.",
    )


def hypergradients(
    level: LowerLevel,
    weights: Tensor,
    wanted: tuple[str, ...],
    *,
    way: str = "exact",
    steps: int = 1,
    summed: bool = False,
) -> tuple[tuple[str, ...], Tensor]:
    """How each validation loss after descent on weighted training losses answers to the weights.

    With ``theta' = theta - lr grad(sum_i w_i l_i)(theta)`` it is
    ``dF_t / dw_i = -lr <grad F_t(theta'), grad l_i(theta)>``; for several steps the chain of
    them is differentiated. The finite difference replaces the inner product by
    ``(l_i(theta + e v) - l_i(theta - e v)) / 2e`` with ``v = grad F_t(theta')``,
    ``e = 0.01 / |v|``, and is for one step.

    Args:
        level: The lower level.
        weights: Shape (K,); their own graph is not followed.
        wanted: Tasks whose validation losses count.
        way: ``"exact"`` or ``"finite_difference"``.
        steps: Number of descent steps.
        summed: Whether only the sum of the validation losses matters.

    Returns:
        The validation tasks found, and the derivatives, shape (number of them, K), or (1, K) if
        summed.

    Raises:
        TaskError: If the losses do not depend on the parameters that the closure is given.
        ConfigurationError: If the model cannot be differentiated twice.
    """
    leaf = weights.detach().requires_grad_()
    exact = way == "exact"
    try:
        with torch.enable_grad():
            ahead = level.descend(
                lambda losses: leaf @ losses.to(leaf.dtype), steps, differentiable=exact
            )
            tasks, upper = level.validation_losses(ahead, wanted)
            goals = (upper.sum(),) if summed and tasks else upper.unbind()
            sources = [leaf] if exact else list(ahead.values())
            slopes = [
                _slopes(goal, sources, retain_graph=k + 1 < len(goals))
                for k, goal in enumerate(goals)
            ]
    except RuntimeError as error:
        if not exact or "not implemented" not in str(error):
            raise
        raise ConfigurationError(
            f"{level.name}: the model cannot be differentiated twice ({_first_line(error)}); "
            "set hypergradient='finite_difference'"
        ) from error
    if tasks and all(slope is None for found in slopes for slope in found):
        level.refuse_unused("validation")
    rows = []
    for found in slopes:
        if exact:
            rows.append(torch.zeros_like(leaf) if found[0] is None else found[0])
        else:
            rows.append(-level.lr * _difference(level, found).to(leaf.dtype))
    stacked = torch.stack(rows) if rows else leaf.new_zeros(0, len(leaf))
    return tasks, stacked.detach()


def _slopes(
    goal: Tensor, sources: Sequence[Tensor], *, retain_graph: bool
) -> tuple[Tensor | None, ...]:
    """The gradient of a validation loss, ``None`` where it does not reach."""
    if not goal.requires_grad:
        return (None,) * len(sources)
    return torch.autograd.grad(goal, sources, retain_graph=retain_graph, allow_unused=True)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".")


def _difference(level: LowerLevel, direction: tuple[Tensor | None, ...]) -> Tensor:
    """The derivatives of the training losses along a direction, by central differences."""
    named = {
        name: None if slope is None else dense(slope)
        for name, slope in zip(level.parameters, direction, strict=True)
    }
    squares = [v.square().sum(dtype=torch.float64) for v in named.values() if v is not None]
    norm = float(torch.stack(squares).sum().sqrt()) if squares else 0.0
    if norm == 0.0:
        return torch.zeros(len(level.tasks))
    reach = _REACH / norm
    with torch.no_grad():
        ends = []
        for sign in (1.0, -1.0):
            moved = {}
            for name, value in level.parameters.items():
                along = named[name]
                moved[name] = value if along is None else value + sign * reach * along
            ends.append(level.training_losses(moved))
        return (ends[0] - ends[1]) / (2.0 * reach)
