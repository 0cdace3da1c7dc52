from __future__ import annotations

import numpy as np
import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import ConfigurationError


def upper_gradients(problem, steps: int) -> np.ndarray:
    """Of each validation loss by alpha at 0, by central differences."""
    slopes = problem.slopes(torch.full((2,), 0.5, dtype=torch.float64), steps)
    return (0.5 * (slopes - slopes.mean(1, keepdim=True))).numpy()


@pytest.mark.parametrize("steps", [1, 3])
def test_alpha_descends_all_validation_losses(problem, steps):
    method = make_method("moml", inner_steps=steps)
    problem.step(method)
    assert method.weights.tolist() == pytest.approx([0.5, 0.5])
    rows = upper_gradients(problem, steps)
    # both upper gradients are multiples of (1, -1): the shortest of the hull by hand
    first, second = rows[:, 0]
    shortest = 0.0 if first * second < 0 else min(first, second, key=abs)
    got = method.parameters()[0].grad.tolist()
    assert got == pytest.approx([shortest, -shortest], rel=1e-5, abs=1e-9)


def test_conflict_in_the_upper_level_stops_the_weights(problem):
    plain = problem.losses

    def losses(parameters, split):
        found = plain(parameters, split)
        return found if split == "train" else {"a": found["a"], "b": -found["a"]}

    problem.losses = losses
    method = make_method("moml")
    problem.step(method)
    assert method.parameters()[0].grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)


def test_unit_length_normalisation(problem):
    method = make_method("moml", normalisation="l2")
    problem.step(method)
    rows = upper_gradients(problem, 1)
    assert rows[0, 0] * rows[1, 0] > 0  # no conflict: any convex combination of equal unit vectors
    expected = rows[0] / np.linalg.norm(rows[0])
    assert method.parameters()[0].grad.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_finite_difference_is_near(problem):
    exact, near = make_method("moml"), make_method("moml", hypergradient="finite_difference")
    problem.step(exact)
    problem.step(near)
    wanted = exact.parameters()[0].grad.tolist()
    assert near.parameters()[0].grad.tolist() == pytest.approx(wanted, rel=1e-3)
    with pytest.raises(ConfigurationError, match="inner_steps = 1, not 2"):
        make_method("moml", hypergradient="finite_difference", inner_steps=2)
