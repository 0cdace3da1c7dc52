from __future__ import annotations

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import ConfigurationError
from mtl_methods.testing import matrix_stage

GENERATOR = torch.Generator().manual_seed(12)
GENERIC = torch.randn(4, 9, generator=GENERATOR, dtype=torch.float64)


def step(gradients, **settings):
    method = make_method("cagrad", **settings)
    return method, matrix_stage(gradients).step(method, update=False)


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9, 3.0])
def test_best_worst_rate_in_the_ball(c):
    """The update lies on the sphere, and no other point of the ball has a better worst rate."""
    _, outcome = step(GENERIC, c=c)
    mean = GENERIC.mean(0)
    offset = outcome.written - mean
    assert float(offset.norm()) == pytest.approx(c * float(mean.norm()))
    worst = float((GENERIC @ outcome.written).min())
    for _ in range(300):
        other = torch.randn(9, generator=GENERATOR, dtype=torch.float64)
        other = offset + 0.2 * offset.norm() * other / other.norm()
        other *= min(1.0, float(offset.norm() / other.norm()))
        assert float((GENERIC @ (mean + other)).min()) <= worst + 1e-9


def test_scales():
    weights = {
        (rescale, scale): step(GENERIC, c=0.5, rescale=rescale, gradient_scale=scale)[1].weights
        for rescale in ("none", "1+c^2", "1+c")
        for scale in ("mean", "sum")
    }
    plain = weights["none", "mean"]
    for (rescale, scale), found in weights.items():
        factor = {"none": 1.0, "1+c^2": 1 / 1.25, "1+c": 1 / 1.5}[rescale]
        factor *= 4.0 if scale == "sum" else 1.0
        assert torch.allclose(found, factor * plain, rtol=1e-12)


def test_stationary_point_takes_the_step_that_worsens_no_task():
    gradients = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    method, outcome = step(gradients, c=0.4)
    assert method.counters == {"pareto_stationary": 1}
    assert outcome.written.tolist() == pytest.approx([0.0, 2 / 3, 0.0])
    method, outcome = step(gradients[:2], c=0.4)
    assert method.counters == {"pareto_stationary": 1}
    assert outcome.written.tolist() == [0.0, 0.0, 0.0]


def test_heads_are_unweighted_unless_told():
    _, outcome = step(GENERIC)
    assert [written.item() for _, written in outcome.heads.values()] == [1.0] * 4
    _, outcome = step(GENERIC, head_weighting="same")
    heads = [written.item() for _, written in outcome.heads.values()]
    assert heads == outcome.weights.tolist()


def test_c_has_a_range():
    with pytest.raises(ConfigurationError, match=r"c = -0\.1.*>= 0"):
        make_method("cagrad", c=-0.1)
