from __future__ import annotations

import numpy as np
import pytest
from adapters.helpers import gradient_step

from mtl_methods import make_method

CONFLICT = [[1.0, 0.0], [-1.0, 1.0]]


def test_projections_by_hand():
    # g_1 goes to (1/2, 1/2), on the plane of g_2; g_2 to (0, 1), on that of g_1
    outcome = gradient_step(make_method("upgrad"), CONFLICT)
    assert outcome.written.tolist() == pytest.approx([0.25, 0.75])
    assert outcome.weights.tolist() == pytest.approx([1.0, 0.75])


def test_dualproj_projects_the_mean():
    assert gradient_step(make_method("dualproj"), CONFLICT).written.tolist() == [0.0, 0.5]
    stronger = gradient_step(make_method("dualproj"), [[1.0, 0.0], [-3.0, 1.0]])
    assert stronger.written.tolist() == pytest.approx([0.0, 0.5])  # from (-1, 1/2)


@pytest.mark.parametrize("name", ["upgrad", "dualproj"])
def test_preferences_and_agreement(name):
    agreeing = [[1.0, 0.0], [1.0, 1.0]]
    assert gradient_step(make_method(name), agreeing).weights.tolist() == [0.5, 0.5]
    preferring = make_method(name, preference=[3.0, 1.0])
    assert gradient_step(preferring, agreeing).weights.tolist() == [3.0, 1.0]


@pytest.mark.parametrize("name", ["upgrad", "dualproj"])
@pytest.mark.parametrize("count", [2, 5, 11, 40])
def test_no_task_is_harmed(name, count):
    generator = np.random.default_rng(count)
    gradients = generator.normal(size=(count, 12)) * np.exp(2 * generator.normal(size=(count, 1)))
    outcome = gradient_step(make_method(name), gradients)
    norms = np.linalg.norm(gradients, axis=1)
    slack = gradients @ outcome.written.numpy() / norms / (outcome.weights.numpy() @ norms)
    assert slack.min() > -1e-10


def test_small_gradients_are_projected_too():
    outcome = gradient_step(make_method("upgrad"), np.array(CONFLICT) * 1e-6)
    assert (outcome.written * 1e6).tolist() == pytest.approx([0.25, 0.75])
    peers = make_method("upgrad", least_trace=1e-4)
    left_alone = gradient_step(peers, np.array(CONFLICT) * 1e-6)
    assert left_alone.weights.tolist() == [0.5, 0.5]
