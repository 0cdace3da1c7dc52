from __future__ import annotations

import numpy as np
import pytest

from mtl_methods.errors import ConfigurationError
from mtl_methods.solvers.min_norm import solve_min_norm
from mtl_methods.solvers.simplex_quadratic import solve_simplex_quadratic


def value(matrix, linear, point):
    return 0.5 * point @ matrix @ point - linear @ point


@pytest.mark.parametrize("count", [1, 2, 3, 5, 11, 40])
@pytest.mark.parametrize("width", [2, 60])
def test_optimality_and_no_better_random_point(count, width):
    generator = np.random.default_rng(count + width)
    rows = generator.normal(size=(count + 1, width)) * generator.lognormal(size=(count + 1, 1))
    matrix = rows @ rows.T
    linear = np.append(np.zeros(count), 0.3 * matrix[count, count])
    solution = solve_simplex_quadratic(matrix, linear, count)
    assert solution.status == "converged"
    assert solution.weights.min() >= 0.0
    assert solution.weights[:count].sum() == pytest.approx(1.0)
    best = value(matrix, linear, solution.weights)
    for _ in range(200):
        shares = generator.dirichlet(np.full(count, 0.3))
        other = np.append(shares, generator.exponential())
        assert value(matrix, linear, other) >= best - 1e-9 * np.trace(matrix)


def test_without_linear_term_it_is_the_min_norm_point():
    rows = np.random.default_rng(0).normal(size=(6, 4))
    gram = rows @ rows.T
    solution = solve_simplex_quadratic(gram, np.zeros(6), 6)
    expected = solve_min_norm(gram)
    assert np.sqrt(solution.weights @ gram @ solution.weights) == pytest.approx(
        expected.norm, abs=1e-6
    )


def test_opposing_rows_and_zero_matrix():
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    solution = solve_simplex_quadratic(rows @ rows.T, np.array([0.0, 0.0, 0.1]), 2)
    assert solution.status == "converged"
    assert solution.weights[2] == pytest.approx(1.1)
    flat = solve_simplex_quadratic(np.zeros((3, 3)), np.zeros(3), 2)
    assert flat.weights[:2].sum() == pytest.approx(1.0)


def test_size_of_the_simplex_is_checked():
    with pytest.raises(ConfigurationError, match="from 1 to 2, not 3"):
        solve_simplex_quadratic(np.eye(2), np.zeros(2), 3)
