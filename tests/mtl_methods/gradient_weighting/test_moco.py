from __future__ import annotations

import pytest
import torch
from adapters.helpers import gradient_step

from mtl_methods import make_method
from mtl_methods.gradient_weighting.common import project_to_simplex
from mtl_methods.testing import matrix_stage

GRADIENTS = [[1.0, 0.0], [0.0, 2.0]]


def test_tracking_by_hand():
    method = make_method("moco", beta=0.5, beta_decay=1.0, gamma=0.0)
    assert gradient_step(method, GRADIENTS).written.tolist() == pytest.approx([0.25, 0.5])
    # beta_2 = 1/4: y_1 = 1/2 + (1 - 1/2) / 4
    assert gradient_step(method, GRADIENTS).written.tolist() == pytest.approx([0.3125, 0.625])
    assert method.weights is None


def test_weights_step_on_the_simplex():
    method = make_method("moco", beta=1.0, beta_decay=0.0, gamma=0.1)
    outcome = gradient_step(method, GRADIENTS)
    # (1/2, 1/2) - 0.1 (1/2, 2) = (0.45, 0.3), and 1/8 more each
    assert method.state["weights"].tolist() == pytest.approx([0.575, 0.425])
    assert outcome.written.tolist() == pytest.approx([0.575, 0.85])


def test_weights_tend_to_the_min_norm_ones():
    method = make_method("moco", beta=1.0, beta_decay=0.0, gamma=0.1, gamma_decay=0.0)
    for _ in range(200):
        gradient_step(method, GRADIENTS)
    assert method.state["weights"].tolist() == pytest.approx([0.8, 0.2])


def test_a_missing_task_keeps_gradient_and_weight():
    method = make_method("moco", gamma=0.1)
    stage = matrix_stage(GRADIENTS)
    stage.step(method, update=False)
    row, weight = method.state["tracked"][1].clone(), float(method.state["weights"][1])
    stage.step(method, tasks=["task_0"], update=False)
    assert torch.equal(method.state["tracked"][1], row)
    assert float(method.state["weights"][1]) == weight


@pytest.mark.parametrize("total", [1.0, 0.25])
def test_projection_to_the_simplex(total):
    """Against its optimality: w = max(x - t, 0) for one t."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        point = (3 * torch.randn(6, generator=generator, dtype=torch.float64)).numpy()
        found = project_to_simplex(point, total)
        assert found.sum() == pytest.approx(total)
        assert found.min() >= 0.0
        thresholds = (point - found)[found > 0]
        assert thresholds.max() - thresholds.min() < 1e-12
        assert (point[found == 0] <= thresholds[0] + 1e-12).all()
    assert project_to_simplex(torch.tensor([1e30, -1e30]).numpy()).tolist() == [1.0, 0.0]
