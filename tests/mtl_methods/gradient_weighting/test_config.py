from __future__ import annotations

import numpy as np
import pytest
from adapters.helpers import gradient_step

from mtl_methods import make_method


def test_orthogonal_gradients():
    # direction (1, 1) / sqrt 2, length (3 + 4) / sqrt 2
    outcome = gradient_step(make_method("config"), [[3.0, 0.0], [0.0, 4.0]])
    assert outcome.written.tolist() == pytest.approx([3.5, 3.5])
    assert outcome.weights.tolist() == pytest.approx([3.5 / 3, 3.5 / 4])


@pytest.mark.parametrize("count", [2, 3, 11])
def test_cosines_are_as_preferred(count):
    generator = np.random.default_rng(count)
    gradients = generator.normal(size=(count, 20)) * np.exp(generator.normal(size=(count, 1)))
    wanted = generator.uniform(0.5, 2.0, size=count)
    outcome = gradient_step(make_method("config", preference=wanted.tolist()), gradients)
    norms = np.linalg.norm(gradients, axis=1)
    cosines = gradients @ outcome.written.numpy() / norms
    assert (cosines / wanted).tolist() == pytest.approx([cosines[0] / wanted[0]] * count)
    direction = outcome.written.numpy() / float(outcome.written.norm())
    assert float(outcome.written.norm()) == pytest.approx((gradients @ direction).sum())


def test_opposing_gradients_stop_the_trunk():
    method = make_method("config", head_weighting="same")
    outcome = gradient_step(method, [[2.0, 0.0], [-1.0, 0.0]])
    assert outcome.written.tolist() == [0.0, 0.0]
    assert method.counters == {"pareto_stationary": 1}
    assert [float(written) for _, written in outcome.heads.values()] == [1.0, 1.0]
