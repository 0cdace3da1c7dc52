from __future__ import annotations

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.loss_weighting.rlw import DISTRIBUTIONS, draw_weights, normalise_draw


def draws(distribution: str, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(3)
    return torch.stack([draw_weights(distribution, 3, index, generator) for _ in range(count)])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_weights_lie_on_the_simplex_with_mean_one_over_k(distribution):
    drawn = draws(distribution, 2000)
    assert bool((drawn >= 0).all())
    assert drawn.sum(1).tolist() == pytest.approx([1.0] * 2000)
    error = drawn.std(0) / 2000**0.5
    assert bool(((drawn.mean(0) - 1 / 3).abs() < 4 * error).all())


def test_distributions_have_the_right_variance():
    # softmax of uniforms varies little, one-hot most; Dirichlet(1) has (K-1)/(K^2 (K+1))
    spread = {
        distribution: float(draws(distribution, 2000).var()) for distribution in DISTRIBUTIONS
    }
    assert spread["dirichlet"] == pytest.approx(2 / 36, rel=0.1)
    assert spread["constrained_bernoulli"] == pytest.approx(2 / 9, rel=0.1)
    assert spread["uniform"] < spread["normal"] < spread["bernoulli"]


def test_bernoulli_weights_are_equal_among_the_chosen():
    assert normalise_draw("bernoulli", torch.tensor([1.0, 0.0, 1.0])).tolist() == [0.5, 0.0, 0.5]


def test_sum_of_tasks(step):
    method = make_method("rlw", weight_sum="tasks")
    assert sum(step(method, [1.0, 2.0, 3.0])) == pytest.approx(3.0)


def test_draws_come_from_the_own_generator(step):
    method = make_method("rlw")
    method.setup("ab")
    method.seed(3)
    first = step(method, [1.0, 1.0])
    torch.manual_seed(99)
    method.seed(3)
    assert step(method, [1.0, 1.0]) == first


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_missing_tasks_get_nothing_and_the_rest_sums_to_one(step, distribution):
    method = make_method("rlw", distribution=distribution)
    method.setup("abc")
    for _ in range(20):
        assert sum(step(method, [1.0, 2.0], "ac")) == pytest.approx(1.0)
