from __future__ import annotations

import pytest
import torch
from adapters.helpers import gradient_step

from mtl_methods import make_method
from mtl_methods.loss_weighting.rlw import DISTRIBUTIONS

GRADIENTS = [[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_weights_have_sum_one_and_equal_means_and_leave_heads_alone(distribution):
    method = make_method("rgw", distribution=distribution)
    method.setup([f"task_{k}" for k in range(3)])
    method.seed(0)
    drawn = []
    for _ in range(300):
        outcome = gradient_step(method, GRADIENTS)
        assert float(outcome.weights.sum()) == pytest.approx(1.0)
        assert [float(written) for _, written in outcome.heads.values()] == [1.0, 1.0, 1.0]
        combined = outcome.weights @ outcome.raw
        assert combined.tolist() == pytest.approx(outcome.written.tolist())
        drawn.append(outcome.weights)
    means = torch.stack(drawn).mean(dim=0)
    assert means.tolist() == pytest.approx([1 / 3] * 3, abs=0.09)
    assert torch.stack(drawn).std(dim=0).min() > 0.05


def test_one_pass_through_the_trunk():
    passes = []

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            passes.append(gradient)
            return gradient

    shared = torch.ones(2, dtype=torch.float64, requires_grad=True)
    trunk = Counted.apply(shared)
    losses = {str(k): (trunk * torch.tensor(g)).sum() for k, g in enumerate(GRADIENTS)}
    make_method("rgw").backward(losses, [shared])
    assert len(passes) == 1


def test_same_draws_as_rlw():
    first, second = make_method("rgw"), make_method("rlw")
    for method in (first, second):
        method.setup([f"task_{k}" for k in range(3)])
        method.seed(4)
    assert torch.equal(
        gradient_step(first, GRADIENTS).weights, gradient_step(second, GRADIENTS).weights
    )
