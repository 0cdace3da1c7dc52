"""A task's last layer, recovered from its loss: slopes and curvatures in the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtl_methods.core.graph import reachable_leaves
from mtl_methods.errors import TaskError

__all__ = ["LastLayer", "recover_last_layer"]

_AGREEMENT = 1e-2  # relative; a head that is not linear misses it by far


@dataclass(frozen=True)
class LastLayer:
    """A head ``o_n = W h_n + b`` and its loss, to second order in o.

    Attributes:
        inputs: ``h_n`` and a 1 for the bias (without one: a 0), shape (B, d + 1).
        weights: W and b beside it, shape (c, d + 1).
        slopes: dl / do_n, shape (B, c).
        curvatures: The diagonal of d2l / do_n2, shape (B, c), not negative.
    """

    inputs: Tensor
    weights: Tensor
    slopes: Tensor
    curvatures: Tensor


def recover_last_layer(
    owner: str, task: str, loss: Tensor, features: Tensor, shared: Sequence[Tensor]
) -> LastLayer | None:
    """Finds the linear head between features and a loss, and what the loss is to it.

    The gradient on the features is ``D W`` with the slopes D, so ``D = (dl/dh) W^+``; products of
    second derivatives with the columns of ``W^+`` give the curvatures. Takes 1 + c passes through
    the head.

    Args:
        owner: Who asks, for messages.
        task: The task.
        loss: Its scalar loss, with graph; the graph is kept.
        features: The shared features, shape (B, d).
        shared: Parameters that belong to no head.

    Returns:
        Float64, without graph; ``None`` for a loss without graph or with an infinite gradient.

    Raises:
        TaskError: If the head is not one linear layer on the features, with at most d outputs.
    """
    if not loss.requires_grad:
        return None
    known = {id(parameter) for parameter in shared}
    leaves = [x for x in reachable_leaves([loss], (features,))[0] if id(x) not in known]
    refusal = TaskError(
        f"{owner}: the head of task {task!r} must be one linear layer on the shared features "
        "(B, d), with at most d independent outputs; use another method for other heads"
    )
    matrices = [leaf for leaf in leaves if leaf.dim() == 2]
    vectors = [leaf for leaf in leaves if leaf.dim() == 1]
    if features.dim() != 2 or len(matrices) != 1 or len(leaves) != 1 + len(vectors):
        raise refusal
    with torch.enable_grad():
        first, *rest = torch.autograd.grad(
            loss, [features, *matrices], create_graph=True, allow_unused=True
        )
    if first is None or rest[0] is None:
        raise refusal
    if not bool(torch.isfinite(first).all() and torch.isfinite(rest[0]).all()):
        return None
    slope, inputs = first.detach().double(), features.detach().double()
    stored = matrices[0].detach().double()
    for weights, change in ((stored, rest[0]), (stored.T, rest[0].T)):
        count = weights.shape[0]
        if weights.shape[1] != inputs.shape[1] or len(vectors) > 1:
            continue
        inverse = torch.linalg.pinv(weights)
        slopes = slope @ inverse
        if _agree(slopes @ weights, slope) and _agree(slopes.T @ inputs, change.detach().double()):
            bias = vectors[0].detach().double() if vectors else torch.zeros(count).to(stored)
            if bias.shape != (count,):
                break
            column = torch.full_like(inputs[:, :1], 1.0 if vectors else 0.0)
            return LastLayer(
                inputs=torch.cat([inputs, column], dim=1),
                weights=torch.cat([weights, bias[:, None]], dim=1),
                slopes=slopes,
                curvatures=_curvatures(first, features, inverse),
            )
    raise refusal


def _agree(one: Tensor, other: Tensor) -> bool:
    size = float(other.abs().max())
    return float((one - other).abs().max()) <= _AGREEMENT * size + 1e-300


def _curvatures(gradient: Tensor, features: Tensor, inverse: Tensor) -> Tensor:
    """Diagonal of the second derivative by the outputs, shape (B, c)."""
    columns = []
    for direction in inverse.T:
        product: Tensor | None = None
        if gradient.requires_grad:
            seed = direction.to(gradient.dtype).expand_as(gradient)
            (product,) = torch.autograd.grad(
                gradient, features, seed, retain_graph=True, allow_unused=True
            )
        if product is None:
            columns.append(torch.zeros(len(features)).to(inverse))
        else:
            columns.append(product.detach().double() @ direction)
    return torch.stack(columns, dim=1).clamp(min=0.0)
