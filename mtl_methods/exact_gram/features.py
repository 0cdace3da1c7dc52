"""Task gradients on shared features by one backward pass through all heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mtl_methods.core.head_gradient import HeadGradient
from mtl_methods.exact_gram.seeds import head_pass
from mtl_methods.exact_gram.trunk import find_trunk

__all__ = ["feature_gradients"]


def feature_gradients(
    losses: Sequence[Tensor],
    features: Sequence[Tensor],
    heads: Sequence[Tensor] | None,
    *,
    scale: float = 1.0,
) -> tuple[list[list[Tensor | None]], list[HeadGradient]] | None:
    """Differentiates all losses at once by the features and by their heads.

    Args:
        losses: K scalar losses.
        features: The shared features.
        heads: The leaves that count as heads; ``None`` for every leaf before the features.
        scale: Factor on the losses.

    Returns:
        For each feature the gradient of each task, ``None`` where there is none, and the gradient
        of each task on its own leaves, all times ``scale``. ``None`` if heads meet before the
        features, so that each loss must be differentiated by itself.
    """
    if any(feature.grad_fn is None for feature in features):
        return None
    trunk = find_trunk(losses, (), heads, stop_at=features)
    if isinstance(trunk, str):
        return None
    seeds, head_gradients = head_pass(losses, trunk, scale)
    position: dict[Any, int] = {
        (edge.node, edge.output_nr): i for i, edge in enumerate(trunk.edges)
    }
    nothing: list[Tensor | None] = [None] * len(losses)
    edges = [position.get((feature.grad_fn, feature.output_nr)) for feature in features]
    return [nothing if edge is None else seeds.by_edge[edge] for edge in edges], head_gradients
