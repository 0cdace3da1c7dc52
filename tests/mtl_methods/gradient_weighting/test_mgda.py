from __future__ import annotations

import numpy as np
import pytest
import torch
from adapters.helpers import gradient_step

from mtl_methods import make_method
from mtl_methods.errors import TaskError

AXES = [[2.0, 0.0], [0.0, 1.0]]


def weights(gradients, losses=None, **options):
    return gradient_step(make_method("mgda", **options), gradients, losses).weights.tolist()


def test_two_orthogonal_gradients():
    # w_1 |g_1|^2 = w_2 |g_2|^2
    outcome = gradient_step(make_method("mgda"), AXES)
    assert outcome.weights.tolist() == pytest.approx([0.2, 0.8])
    assert outcome.written.tolist() == pytest.approx([0.4, 0.8])


@pytest.mark.parametrize(
    ("normalisation", "solved"),
    [("none", [1 / 5, 4 / 5]), ("l2", [1 / 2, 1 / 2]), ("loss", [1 / 17, 16 / 17]),
     ("loss+", [1 / 5, 4 / 5])],
)  # fmt: skip
def test_normalisations(normalisation, solved):
    """The solver sees g_k / n_k; the weights go to g_k, or with them to g_k / n_k."""
    divisors = {"none": [1, 1], "l2": [2, 1], "loss": [1, 2], "loss+": [2, 2]}[normalisation]
    losses = [1.0, 2.0]
    assert weights(AXES, losses, normalisation=normalisation) == pytest.approx(solved)
    undone = weights(AXES, losses, normalisation=normalisation, aggregate="normalised")
    assert undone == pytest.approx([w / n for w, n in zip(solved, divisors, strict=True)])


def test_weights_may_sum_to_the_number_of_tasks():
    assert weights(AXES, weight_sum="tasks") == pytest.approx([0.4, 1.6])


@pytest.mark.parametrize("count", [2, 3, 5, 11, 40])
@pytest.mark.parametrize("width", [2, 6, 60])
def test_optimality(count, width):
    """<d, g_k> >= |d|^2 for all k, with equality where w_k > 0: the KKT conditions."""
    generator = np.random.default_rng(100 * count + width)
    scales = np.exp(generator.normal(size=(count, 1)) * 2)
    gradients = (generator.normal(size=(count, width)) + 0.3) * scales
    outcome = gradient_step(make_method("mgda"), gradients)
    found, direction = outcome.weights.numpy(), outcome.written.numpy()
    assert found.min() >= 0.0
    assert found.sum() == pytest.approx(1.0)
    norms = np.linalg.norm(gradients, axis=1)
    size = found @ norms
    slack = (gradients @ direction - direction @ direction) / (norms * size)
    assert slack.min() >= -1e-9
    assert np.abs(slack[found * norms > 1e-9 * size]).max() <= 1e-9


def test_a_task_without_gradient_stops_the_trunk_but_not_the_heads():
    for rule in ("unit", "same"):
        method = make_method("mgda", head_weighting=rule)
        outcome = gradient_step(method, [[0.0, 0.0], [1.0, 2.0]])
        assert outcome.weights.tolist() == [1.0, 0.0]
        assert outcome.written.tolist() == [0.0, 0.0]
        assert {"pareto_stationary", "zero_gradient"} <= set(method.counters)
        assert [float(written) for _, written in outcome.heads.values()] == [1.0, 1.0]


def test_opposing_gradients_are_pareto_stationary():
    method = make_method("mgda")
    outcome = gradient_step(method, [[1.0, 0.0], [-3.0, 0.0]])
    assert outcome.weights.tolist() == pytest.approx([0.75, 0.25])
    assert float(outcome.written.norm()) < 1e-12
    assert method.counters == {"pareto_stationary": 1}


def test_losses_that_gradients_are_divided_by_must_be_positive():
    with pytest.raises(TaskError, match=r"task_0.*loss_floor"):
        weights(AXES, [-1.0, 2.0], normalisation="loss")
    shifted = weights(AXES, [-1.0, 0.0], normalisation="loss", loss_floor=-2.0)
    assert shifted == pytest.approx(weights(AXES, [1.0, 2.0], normalisation="loss"))


def test_loss_normalisation_in_a_composition_uses_the_weighted_losses():
    """l_k = a_k l_k' and g_k = a_k g_k': the normalised problem is that of the raw losses."""
    composed = make_method("ls+mgda", weights=[4.0, 0.5], normalisation="loss")
    outcome = gradient_step(composed, AXES, [1.0, 2.0])
    solved = outcome.weights.numpy() / [4.0, 0.5]
    assert solved.tolist() == pytest.approx([1 / 17, 16 / 17])


def test_upper_bound_variant_on_features():
    """MGDA-UB: the min-norm problem of the feature gradients, one pass through the trunk."""
    trunk = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    inputs = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    features = inputs @ trunk
    losses = {
        name: (features * torch.tensor(row, dtype=torch.float64)).sum() + 1.0
        for name, row in zip("ab", AXES, strict=True)
    }
    method = make_method("mgda", gradients_on="features")
    method.backward(losses, [trunk], features=features)
    assert method.weights.tolist() == pytest.approx([0.2, 0.8])
    assert trunk.grad.tolist() == [pytest.approx([0.4, 0.8]), pytest.approx([-0.4, -0.8])]
