from __future__ import annotations

import numpy as np
import pytest
from adapters.helpers import gradient_step

from mtl_methods import make_method


def test_two_tasks_follow_the_bisector():
    outcome = gradient_step(make_method("edm"), [[3.0, 0.0], [0.0, 4.0]])
    assert outcome.weights.tolist() == pytest.approx([4 / 7, 3 / 7])
    assert outcome.written.tolist() == pytest.approx([12 / 7, 12 / 7])


def test_a_gradient_between_others_is_left_out():
    outcome = gradient_step(make_method("edm"), [[3.0, 0.0], [0.0, 4.0], [5.0, 5.0]])
    assert outcome.weights.tolist() == pytest.approx([4 / 7, 3 / 7, 0.0], abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5, 11, 40])
@pytest.mark.parametrize("width", [3, 60])
def test_optimality(count, width):
    """Among unit gradients: equal angles where the weight is positive, smaller ones elsewhere."""
    generator = np.random.default_rng(10 * count + width)
    gradients = generator.normal(size=(count, width)) + 0.7
    gradients *= np.exp(generator.normal(size=(count, 1)) * 2)
    method = make_method("edm")
    outcome = gradient_step(method, gradients)
    found, direction = outcome.weights.numpy(), outcome.written.numpy()
    norms = np.linalg.norm(gradients, axis=1)
    assert found.sum() == pytest.approx(1.0)
    assert found.min() >= 0.0
    if method.counters:  # zero lies in the hull of the unit gradients
        assert method.counters == {"pareto_stationary": 1}
        assert count > width
        assert np.linalg.norm(direction) < 1e-7 * (found @ norms)
        return
    cosines = gradients @ direction / (norms * np.linalg.norm(direction))
    active = found * norms > 1e-9 * (found @ norms)
    assert np.ptp(cosines[active]) < 1e-8
    assert (cosines > cosines[active].min() - 1e-8).all()


def test_a_vanishing_gradient_takes_the_update_with_it():
    lengths = [
        float(gradient_step(make_method("edm"), [[size, 0.0], [0.0, 1.0]]).written.norm())
        for size in (1.0, 1e-3, 1e-6, 0.0)
    ]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[2] == pytest.approx(1e-6 * 2**0.5, rel=1e-5)
    assert lengths[3] == 0.0
