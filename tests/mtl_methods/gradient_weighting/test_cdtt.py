from __future__ import annotations

import math

import numpy as np
import pytest
from adapters.helpers import gradient_step

from mtl_methods import make_method
from mtl_methods.errors import TaskError
from mtl_methods.gradient_weighting.cdtt import _pull, _pull_between_two

GRADIENTS = [[3.0, 0.0], [0.0, 4.0]]  # EDM: (12/7, 12/7); unit differences (0.6, -0.8), (-0.6, 0.8)


def updates(method, losses, steps, gradients=GRADIENTS):
    return [gradient_step(method, gradients, losses).written.tolist() for _ in range(steps)]


def test_tension_starts_with_the_second_window():
    method = make_method("cdtt", alpha=1.0, window=3)
    found = updates(method, [1.0, 10.0], 4)
    assert found[:3] == [pytest.approx([12 / 7, 12 / 7])] * 3
    assert found[3] != pytest.approx([12 / 7, 12 / 7])


def test_tensions_by_hand():
    method = make_method("cdtt", alpha=1.0, window=1)
    last = updates(method, [1.0, 10.0], 2)[1]
    # steady norms: x = 1 + log10(l), so 1 and 2
    first, second = 0.5, 1.0 / (1.0 + math.exp(-math.e))
    pull = second - first
    assert last == pytest.approx([12 / 7 - 0.6 * pull, 12 / 7 + 0.8 * pull])


def test_without_sensitivity_all_tensions_are_one():
    method = make_method("cdtt", alpha=0.0, window=1)
    assert updates(method, [1.0, 10.0], 2)[1] == pytest.approx([12 / 7, 12 / 7])


def test_effective_weights():
    method = make_method("cdtt", window=1)
    for _ in range(3):
        outcome = gradient_step(method, GRADIENTS, [0.2, 3.0])
        combined = outcome.weights @ outcome.raw
        assert combined.tolist() == pytest.approx(outcome.written.tolist())


def test_angle_correction_removes_conflicts():
    gradients = np.array([[0.3, 0.0], [-0.2, 0.1]])
    losses = [100.0, 1e-4]
    plain = make_method("cdtt", alpha=1.0, window=1)
    conflict = gradients @ updates(plain, losses, 2, gradients)[1]
    assert conflict[1] < -1e-3
    corrected = make_method("cdtt", alpha=1.0, window=1, angle_correction=True)
    assert (gradients @ updates(corrected, losses, 2, gradients)[1]).min() > -1e-12


def test_logarithms_need_positive_losses():
    with pytest.raises(TaskError, match="loss_floor"):
        gradient_step(make_method("cdtt"), GRADIENTS, [0.0, 1.0])


def test_two_tasks_are_pulled_as_any_number_is():
    generator = np.random.default_rng(0)
    for scale in (1.0, 1e3, 1e-3):
        gradients = generator.normal(size=(2, 3)) * [[1.0], [scale]]
        gram = gradients @ gradients.T
        norms = np.sqrt(gram.diagonal())
        centre = norms[::-1] / norms.sum()
        tensions = generator.uniform(size=2)
        general = _pull(centre, gram, tensions, 1e-12)
        assert _pull_between_two(centre, gram, tensions, 1e-12) == pytest.approx(general, rel=1e-9)
        assert general.any()


def test_a_gradient_at_the_centre_does_not_pull_between_two():
    gram = np.array([[1.0, 0.0], [0.0, 1e-20]])
    centre = np.array([1e-10, 1.0])  # the centre is the short gradient
    found = _pull_between_two(centre, gram, np.array([0.5, 0.7]), 1e-6)
    assert found == pytest.approx([0.5, -0.5])
    assert found == pytest.approx(_pull(centre, gram, np.array([0.5, 0.7]), 1e-6))
