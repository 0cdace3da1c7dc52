import numpy as np
import pytest
from gradient_cases import gradients, gram_of

from mtl_methods.solvers._supports import (
    distance_bound,
    inverse_of,
    solve_beside_supports,
    solve_by_series,
    solve_on_supports,
)

SIZE = 12


def problems(distinct):
    """A regular matrix, right sides, and supports of every size, an empty and a full one too."""
    matrix = gram_of(gradients("generic", SIZE, seed=1)) / SIZE
    generator = np.random.default_rng(distinct)
    few = generator.random(size=(distinct, SIZE)) < np.linspace(0.0, 1.0, distinct)[:, None]
    return matrix, generator.normal(size=(10, SIZE)), few[np.arange(10) % distinct]


def one_by_one(matrix, right, free):
    found = np.zeros_like(right)
    for solution, values, support in zip(found, right, free, strict=True):
        if support.any():
            block = matrix[np.ix_(support, support)]
            solution[support] = np.linalg.solve(block, values[support])
    return found


@pytest.mark.parametrize("distinct", [2, 3, 10])
def test_on_supports(distinct):
    matrix, right, free = problems(distinct)
    found = solve_on_supports(matrix, right, free)
    np.testing.assert_allclose(found, one_by_one(matrix, right, free), atol=1e-12)


@pytest.mark.parametrize("distinct", [2, 10])
def test_beside_supports(distinct):
    matrix, right, free = problems(distinct)
    found = solve_beside_supports(inverse_of(matrix), right, free)
    np.testing.assert_allclose(found, one_by_one(matrix, right, free), atol=1e-12)
    assert not found[~free].any()


def distance_of(norm):
    """A symmetric matrix of a spectral norm."""
    drawn = np.random.default_rng(3).normal(size=(SIZE, SIZE))
    symmetric = drawn + drawn.T
    return symmetric * (norm / np.linalg.norm(symmetric, 2))


@pytest.mark.parametrize("norm", [0.0, 0.01, 0.4])
@pytest.mark.parametrize("nothing", [0.0, 1e-6])
def test_by_series(norm, nothing):
    _, right, free = problems(10)
    distance = distance_of(norm)
    found = solve_by_series(distance, nothing, right, free)
    expected = one_by_one(np.eye(SIZE) - distance, right, free)
    np.testing.assert_allclose(found, expected, atol=max(nothing, 1e-13))
    assert not found[~free].any()


def test_a_series_ends_with_terms_that_count_as_nothing():
    _, right, free = problems(10)
    rough = solve_by_series(distance_of(0.4), 1e-3, right, free)
    exact = one_by_one(np.eye(SIZE) - distance_of(0.4), right, free)
    assert 1e-9 < np.abs(rough - exact).max() < 1e-3


@pytest.mark.parametrize("norm", [0.01, 0.3, 5.0])
def test_the_bound_holds(norm):
    assert norm <= distance_bound(distance_of(norm)) <= 2.0 * norm


def test_the_matrices_are_left_alone():
    matrix, right, free = problems(10)
    before = matrix.copy()
    inverse = inverse_of(matrix)
    kept = inverse.copy()
    np.testing.assert_allclose(inverse @ matrix, np.eye(SIZE), atol=1e-12)
    solve_on_supports(matrix, right, free)
    solve_beside_supports(inverse, right, free)
    np.testing.assert_array_equal(matrix, before)
    np.testing.assert_array_equal(inverse, kept)
