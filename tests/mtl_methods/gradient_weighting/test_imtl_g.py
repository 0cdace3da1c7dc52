from __future__ import annotations

import numpy as np
import pytest
from adapters.helpers import gradient_step

from mtl_methods import make_method
from mtl_methods.gradient_weighting.imtl_g import equal_projection_weights


def test_two_orthogonal_gradients():
    # w_1 |g_1| = w_2 |g_2|
    outcome = gradient_step(make_method("imtl_g"), [[1.0, 0.0], [0.0, 2.0]])
    assert outcome.weights.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert outcome.written.tolist() == pytest.approx([2 / 3, 2 / 3])


@pytest.mark.parametrize("count", [2, 3, 4, 11])
def test_closed_form_of_the_paper(count):
    """alpha_(2..K) = g_1 U^T (D U^T)^-1 as printed, rows of U and D being differences."""
    gradients = (
        np.random.default_rng(count).normal(size=(count, 15)) * 3.0 ** np.arange(count)[:, None]
    )
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    U, D = units[0] - units[1:], gradients[0] - gradients[1:]
    rest = gradients[0] @ U.T @ np.linalg.inv(D @ U.T)
    found = gradient_step(make_method("imtl_g"), gradients).weights
    assert found.tolist() == pytest.approx([1.0 - rest.sum(), *rest])


def test_opposing_gradients():
    method = make_method("imtl_g")
    outcome = gradient_step(method, [[1.0, 0.0], [-1.0, 0.0]])
    assert outcome.weights.tolist() == [0.5, 0.5]
    assert method.counters == {"no_equal_projection": 1}


def test_a_negative_common_projection_is_counted():
    """Weights of sum 1 can only be had with an update that raises all losses."""
    gradients = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [7e-4, 7e-4, 1.4e-4]]
    method = make_method("imtl_g")
    outcome = gradient_step(method, gradients)
    assert float(outcome.weights.sum()) == pytest.approx(1.0)
    assert (outcome.raw @ outcome.written).max() < 0.0
    assert method.counters == {"negative_projection": 1}


def test_dependent_gradients_of_very_different_size():
    """A square Gram matrix of condition 1e24 is no rank defect where the cosines have none."""
    outcome = gradient_step(make_method("imtl_g"), [[1e6, 0.0], [1e-6, 1e-6]])
    norms = outcome.raw.norm(dim=1)
    projections = outcome.raw @ outcome.written / norms
    assert projections[0] == pytest.approx(float(projections[1]), rel=1e-6)


@pytest.mark.parametrize("apart", [1e-6, 1e-3, 1.0])
def test_projections_are_equal_however_close_gradients_are(apart):
    generator = np.random.default_rng(7)
    gradients = generator.normal(size=(9, 30))
    gradients[0] = 2.0 * gradients[1] + apart * generator.normal(size=30)
    gram = gradients @ gradients.T
    decision = equal_projection_weights(gram, 2.0**-52)
    norms = np.sqrt(gram.diagonal())
    exact = np.linalg.lstsq(gradients / norms[:, None], np.ones(9))[0]  # the common direction
    exact = np.linalg.lstsq(gradients.T, exact)[0]
    assert decision.residual <= 1e-8
    assert decision.weights == pytest.approx(exact / exact.sum(), rel=1e-12 / apart**2, abs=1e-12)
