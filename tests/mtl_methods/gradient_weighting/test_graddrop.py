from __future__ import annotations

import pytest
import torch
from adapters.helpers import gradient_step

from mtl_methods import make_method

MIXED = [[1.0, -3.0, 0.0], [2.0, 1.0, 0.0]]


def many(method, count=400, gradients=MIXED):
    method.setup(["task_0", "task_1"])
    method.seed(3)
    return torch.stack([gradient_step(method, gradients).written for _ in range(count)])


def test_one_sign_is_kept_with_the_chance_of_its_purity():
    written = many(make_method("graddrop"))
    assert (written[:, 0] == 3.0).all()  # all positive: purity 1
    assert set(written[:, 1].tolist()) == {-3.0, 1.0}
    # P = (1 + (-3 + 1) / 4) / 2 = 1/4 is the chance of the positive one
    assert float((written[:, 1] == 1.0).double().mean()) == pytest.approx(0.25, abs=0.06)
    assert (written[:, 2] == 0.0).all()


def test_leak():
    assert many(make_method("graddrop", leak=1.0), 3)[:, 1].tolist() == [-2.0] * 3
    written = many(make_method("graddrop", task_leak={"task_0": 1.0, "task_1": 0.0}), 50)
    assert set(written[:, 1].tolist()) == {-3.0, -2.0}


def test_there_are_no_weights():
    method = make_method("graddrop", head_weighting="same")
    outcome = gradient_step(method, MIXED)
    assert outcome.weights is None
    assert [float(written) for _, written in outcome.heads.values()] == [1.0, 1.0]


def test_on_features_the_mask_is_shared_by_the_examples():
    features = torch.tensor([[1.0, 2.0], [-1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    outputs = features * 1.0
    first = torch.tensor([[1.0, -1.0], [-2.0, -1.0]], dtype=torch.float64)
    second = torch.tensor([[-1.0, 1.0], [4.0, 0.5]], dtype=torch.float64)
    # signed sums: first (1 + 2, -2), second (-1 - 4, 1.5): of opposite signs in both features
    for seed in range(6):
        method = make_method("graddrop", gradients_on="features")
        method.setup("ab", feature_dim=2)
        method.seed(seed)
        features.grad = None
        losses = {"a": (outputs * first).sum() + 1, "b": (outputs * second).sum() + 1}
        method.backward(losses, [features], features=outputs)
        for column in range(2):
            written = features.grad[:, column]
            assert written.equal(first[:, column]) or written.equal(second[:, column])
        outputs = features * 1.0


def test_maps_as_features():
    shape = (2, 3, 4, 5)
    generator = torch.Generator().manual_seed(0)
    leaf = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    gradients = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    outputs = leaf * 1.0
    method = make_method("graddrop", gradients_on="features")
    losses = {str(k): (outputs * g).sum() + 1 for k, g in enumerate(gradients)}
    method.backward(losses, [leaf], features=outputs)
    for channel in range(3):
        options = [gradients[0], gradients[1], gradients.sum(0), torch.zeros(shape)]
        assert any(torch.allclose(leaf.grad[:, channel], o[:, channel].double()) for o in options)
