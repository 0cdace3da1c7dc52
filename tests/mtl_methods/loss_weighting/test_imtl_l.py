from __future__ import annotations

import math

import pytest
import torch

from mtl_methods import make_method


def test_weights_and_own_gradient(step):
    method = make_method("imtl_l", initial_scale=0.5)
    weights = step(method, [2.0, 3.0])
    assert weights == pytest.approx([math.exp(0.5)] * 2)
    (scale,) = method.parameters()
    assert scale.grad is not None
    assert scale.grad.tolist() == pytest.approx([2 * math.exp(0.5) - 1, 3 * math.exp(0.5) - 1])


def test_converges_to_scale_invariant_weights(step):
    method = make_method("imtl_l")
    method.setup("ab", dtype=torch.float64)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        weights = step(method, [0.5, 4.0])
        optimizer.step()
    assert weights == pytest.approx([2.0, 0.25], rel=1e-6)
