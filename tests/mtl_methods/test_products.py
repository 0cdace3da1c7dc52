"""Products of rows in blocks, and the symmetric matrices made of them."""

import numpy as np
import pytest
import torch

from mtl_methods.core.products import (
    dot_products,
    has_kept_digits,
    is_finite,
    long_product,
    lower_product,
    lower_products,
    mirrored,
    symmetric_sum,
)


def rows(count, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 2, 4, 8, 9, 20])
@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("way", [lower_products, dot_products])
def test_products_make_the_whole_matrix(count, turn, way):
    matrix = rows(count, 3, 4)
    symmetric = rows(3, 3, seed=1)
    symmetric = symmetric @ symmetric.T
    turned = (lambda part: symmetric @ part) if turn else None
    left = symmetric @ matrix if turn else matrix
    expected = (left.flatten(1) @ matrix.flatten(1).T).numpy()
    found = symmetric_sum(way(matrix, turned), count)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert (found == found.T).all()


def test_matrices_of_several_factors_add_up():
    first, second = rows(2, 7), rows(2, 5, seed=1)
    blocks = [*dot_products(first), *dot_products(second)]
    expected = (first @ first.T + second @ second.T).numpy()
    np.testing.assert_allclose(symmetric_sum(blocks, 2), expected, rtol=1e-12)


def test_single_numbers_beside_larger_blocks():
    first, second = rows(2, 7), rows(2, 5, seed=1)
    blocks = [*dot_products(first), *lower_products(second)]
    expected = (first @ first.T + second @ second.T).numpy()
    np.testing.assert_allclose(symmetric_sum(blocks, 2), expected, rtol=1e-12)


def test_float32_numbers_of_mixed_types_are_summed_in_float64():
    blocks = [(0, 0, torch.tensor(1.0)), (0, 0, torch.tensor(1e-12, dtype=torch.float64))]
    assert symmetric_sum(blocks, 1)[0, 0] == 1.0 + 1e-12


@pytest.mark.parametrize("count", [1, 3])
def test_long_float32_rows_keep_their_digits(count):
    long = rows(count, 700_001)
    narrow = long.float()
    blocks = dot_products(narrow)
    expected = (long @ long.T).numpy()
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    assert (np.abs(symmetric_sum(blocks, count) - expected) / scale).max() < 1e-6
    for product in (long_product(narrow, narrow), lower_product(narrow)):
        found = mirrored(product.double().numpy())
        assert (np.abs(found - expected) / scale).max() < 1e-6


@pytest.mark.parametrize("count", [1, 12, 13, 24, 40])
@pytest.mark.parametrize("size", [1, 7, 8191, 8192, 20_000])
def test_strips_of_rows_and_blocks_of_columns_make_the_lower_triangle(count, size):
    matrix = rows(count, size)
    found = mirrored(lower_product(matrix).numpy())
    np.testing.assert_allclose(found, (matrix @ matrix.T).numpy(), rtol=1e-10, atol=1e-10)
    assert (found == found.T).all()


@pytest.mark.parametrize(("count", "other"), [(1, 1), (3, 40), (40, 8)])
def test_blocks_of_columns_make_the_whole_product(count, other):
    left, right = rows(count, 140_001), rows(other, 140_001, seed=1)
    torch.testing.assert_close(long_product(left, right), left @ right.T)


@pytest.mark.parametrize("size", [2, 40])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_entry_that_is_not_finite_is_found(size, bad):
    matrix = np.full((size, size), 1e300)
    assert is_finite(matrix)
    assert has_kept_digits(matrix)
    matrix[size - 1, 0] = bad
    assert not is_finite(matrix)
    assert not has_kept_digits(matrix)


def test_squares_below_the_range_of_digits_are_found():
    assert not has_kept_digits(np.diag([1.0, 1e-31]))
