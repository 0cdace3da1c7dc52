from __future__ import annotations

import math

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.testing import matrix_stage

GRADIENTS = [[1.0, 0.0], [0.0, 2.0]]


def test_scales_descend_exp_s_l_minus_s():
    method = make_method("imtl")
    outcome = matrix_stage(GRADIENTS, [3.0, 0.5]).step(method, update=False)
    assert outcome.weights.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert outcome.own[0].tolist() == pytest.approx([3.0 - 1.0, 0.5 - 1.0])


def test_learned_scales_reach_heads_and_gradients():
    method = make_method("imtl")
    method.setup(["task_0", "task_1"], dtype=torch.float64)
    with torch.no_grad():
        method.parameters()[0].copy_(torch.tensor([math.log(4.0), 0.0]))
    outcome = matrix_stage(GRADIENTS, [3.0, 0.5]).step(method, update=False)
    # scaled gradients have norms 4 and 2, so w = (1/3, 2/3); heads get exp(s)
    assert outcome.weights.tolist() == pytest.approx([4 / 3, 2 / 3])
    assert [float(written) for _, written in outcome.heads.values()] == pytest.approx([4.0, 1.0])
    assert outcome.own[0].tolist() == pytest.approx([4 * 3.0 - 1.0, 0.5 - 1.0])


def test_scales_settle_at_the_inverse_of_the_losses():
    method = make_method("imtl")
    method.setup(["task_0", "task_1"], dtype=torch.float64)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.2)
    for _ in range(200):
        matrix_stage(GRADIENTS, [3.0, 0.5]).step(method, update=False)
        optimizer.step()
    assert method.parameters()[0].exp().tolist() == pytest.approx([1 / 3, 2.0])
