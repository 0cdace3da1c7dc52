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


WITH_ZERO = {
    "orthogonal": [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]],
    "conflicting": [[0.0, 0.0], [1.0, 0.0], [-0.5, 1.0]],
    "out of reach": [[0.0, 0.0], [4.0, 0.2], [-1.0, 0.2]],
    "alone": [[0.0, 0.0], [3.0, 4.0]],
    "all zero": [[0.0, 0.0], [0.0, 0.0]],
}


@pytest.mark.parametrize("c", [0.0, 0.1, 0.4, 0.9])
@pytest.mark.parametrize("what", WITH_ZERO)
def test_zero_gradient_counts_in_the_mean(what, c):
    """The ball is around the mean over all K tasks, and the update is the best one in it."""
    gradients = torch.tensor(WITH_ZERO[what], dtype=torch.float64)
    mean = gradients.mean(0)
    method, outcome = step(gradients, c=c)
    assert method.counters["zero_gradient"] == 1
    radius = c * float(mean.norm())
    assert float((outcome.written - mean).norm()) <= radius * (1 + 1e-9) + 1e-15
    worst = float((gradients @ outcome.written).min())
    around = torch.linspace(0.0, 2 * torch.pi, 3601, dtype=torch.float64)
    circle = mean + radius * torch.stack([around.cos(), around.sin()], 1)
    assert float((circle @ gradients.T).amin(1).max()) <= worst + 1e-9
    if c == 0.0:
        assert outcome.weights.tolist() == pytest.approx([1 / len(gradients)] * len(gradients))


def test_zero_gradient_is_stationary_and_its_head_trains_on():
    gradients = torch.tensor(WITH_ZERO["orthogonal"], dtype=torch.float64)
    method, outcome = step(gradients, c=0.4, head_weighting="same")
    assert method.counters == {"zero_gradient": 1, "pareto_stationary": 1}
    assert outcome.written.tolist() == pytest.approx([1 / 3, 1 / 3])
    assert [float(head) for _, head in outcome.heads.values()] == pytest.approx([1 / 3] * 3)
