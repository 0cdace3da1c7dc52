from __future__ import annotations

import math

import numpy as np
import pytest
from adapters.helpers import gradient_step

from mtl_methods import make_method


def test_first_step_is_that_of_pcgrad():
    gradients = [[1.0, 0.0], [-1.0, 1.0]]
    vaccinated = gradient_step(make_method("gradvac"), gradients)
    assert vaccinated.weights.tolist() == pytest.approx([2.0, 1.5])


def test_cosines_are_raised_to_their_running_mean():
    method = make_method("gradvac", beta=0.5)
    sixty_degrees = [[2.0, 0.0], [0.5, math.sqrt(0.75)]]
    gradient_step(method, sixty_degrees)
    assert method.state["goals"].flatten().tolist() == pytest.approx([0.0, 0.25, 0.25, 0.0])
    outcome = gradient_step(method, [[2.0, 0.0], [0.0, 3.0]])
    # v_1 = g_1 + a g_2 with cos(v_1, g_2) = 1/4, v_2 likewise
    slope = 0.25 / math.sqrt(1 - 0.25**2)
    assert outcome.weights.tolist() == pytest.approx([1 + 3 / 2 * slope, 1 + 2 / 3 * slope])
    raised = [2.0, 2.0 * slope]
    assert raised[1] / math.hypot(*raised) == pytest.approx(0.25)
    assert method.state["goals"][0, 1] == pytest.approx(0.125)


def test_a_goal_of_one_stays_finite():
    method = make_method("gradvac", beta=1.0)
    gradient_step(method, [[1.0, 0.0], [2.0, 0.0]])
    outcome = gradient_step(method, [[1.0, 0.0], [0.0, 1.0]])
    assert outcome.finite


@pytest.mark.parametrize("third", [[], [[0.0, 0.0]]])
def test_a_goal_of_minus_one_asks_for_nothing(third):
    method = make_method("gradvac", beta=1.0)
    opposing = [[1.0, 0.0], [-2.0, 0.0], *third]
    assert gradient_step(method, opposing).weights[:2].tolist() == pytest.approx([3.0, 1.5])
    assert gradient_step(method, opposing).weights[:2].tolist() == [1.0, 1.0]


def test_pairs_of_a_missing_task_keep_their_mean():
    method = make_method("gradvac", beta=0.5)
    method.setup([f"task_{k}" for k in range(3)])
    gradient_step(method, [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    before = method.state["goals"].clone()
    gradient_step(method, [[1.0, 0.0], [-1.0, 1.0]])
    after = method.state["goals"]
    assert after[2].tolist() == before[2].tolist()
    assert after[:, 2].tolist() == before[:, 2].tolist()
    assert after[0, 1] != before[0, 1]


@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 0.3])
def test_two_tasks_are_as_beside_a_third_without_gradient(epsilon):
    """Two tasks have formulas of their own, three do not."""
    generator = np.random.default_rng(1)
    alone = make_method("gradvac", beta=0.3, epsilon=epsilon)
    beside = make_method("gradvac", beta=0.3, epsilon=epsilon)
    for step in range(30):
        gradients = generator.normal(size=(2, 3)) * 10.0 ** generator.uniform(-2, 2, size=(2, 1))
        if step % 10 == 3:
            gradients[1] = -2.0 * gradients[0]
        if step % 10 == 6:
            gradients[1] = 0.0
        found = gradient_step(alone, gradients).weights
        expected = gradient_step(beside, [*gradients, [0.0, 0.0, 0.0]]).weights
        assert found.tolist() == pytest.approx(expected[:2].tolist(), rel=1e-9)
        goals = beside.state["goals"][:2, :2].flatten().tolist()
        assert alone.state["goals"].flatten().tolist() == pytest.approx(goals, abs=1e-12)
