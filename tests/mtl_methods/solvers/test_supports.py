import numpy as np
import pytest
from gradient_cases import gradients, gram_of

from mtl_methods.solvers._supports import inverse_of, solve_beside_supports, solve_on_supports

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
