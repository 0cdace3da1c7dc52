"""Factored gradients held against autograd's own, task by task."""

import copy

import numpy as np
import torch
from torch import nn

from mtl_methods.exact_gram import FactoredGradients, factored_gradients


class Heads(nn.Module):
    """K linear heads with losses of different curvature on flattened features."""

    def __init__(self, width, count):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, 2) for _ in range(count))

    def losses(self, features):
        flat = features.flatten(1)
        return [
            (layer(flat) * (1.0 + k) - 0.3 * k).square().mean() + layer(flat).sigmoid().sum() / 10
            for k, layer in enumerate(self.layers)
        ]


def heads_for(trunk, inputs, count=3):
    with torch.no_grad():
        width = copy.deepcopy(trunk)(inputs).flatten(1).shape[1]
    return Heads(width, count).to(next(trunk.parameters()).dtype)


def reference(losses, shared):
    """The (K, m) matrix, one autograd pass per task, in float64."""
    rows = []
    for loss in losses:
        gradients = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    torch.zeros(p.numel(), dtype=torch.float64)
                    if g is None
                    else g.reshape(-1).double()
                    for p, g in zip(shared, gradients, strict=True)
                ]
            )
        )
    return torch.stack(rows)


def relative_error(gram, expected):
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    return float((np.abs(gram - expected) / scale).max())


def check(losses_of, shared, tolerance, *, forced=True, heads=None):
    """Gram matrix, shared gradient and head gradients of two fresh graphs agree."""
    shared = list(shared)
    matrix = reference(losses_of(), shared)
    expected = (matrix @ matrix.T).numpy()
    losses = losses_of()
    weights = np.linspace(-1.0, 2.0, len(losses))
    for parameter in shared:
        parameter.grad = None
    with torch.no_grad():
        found = factored_gradients(losses, shared, heads, forced=forced)
        assert isinstance(found, FactoredGradients), str(found.plan)
        assert relative_error(found.gram(), expected) < tolerance
        found.write_weighted(weights)
    combined = torch.as_tensor(weights) @ matrix
    written = torch.cat([p.grad.reshape(-1).double() for p in shared])
    assert float((written - combined).norm() / combined.norm()) < tolerance
    return found


def check_trunk(trunk, inputs, tolerance=1e-10, *, count=3, forced=True):
    """:func:`check` for a trunk with heads; also that heads get their own gradients."""
    heads = heads_for(trunk, inputs, count)
    shared = [p for p in trunk.parameters() if p.requires_grad]
    found = check(lambda: heads.losses(trunk(inputs)), shared, tolerance, forced=forced)
    for head in found.heads:
        assert len(head.leaves) == 2
    own = list(heads.parameters())
    summed = torch.autograd.grad(sum(heads.losses(trunk(inputs))), own)
    found.write_heads([1.0] * count)
    for parameter, gradient in zip(own, summed, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=max(tolerance, 1e-9), atol=tolerance)
    return found


def ways(found):
    return [plan.way for plan in found.plan.parameters]
