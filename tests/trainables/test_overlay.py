from __future__ import annotations

import numpy as np
import pytest

from trainables.overlay import overlay


def test_every_pixel():
    first = np.array([[[1, 5], [2, 3]]], dtype=np.uint8)
    second = np.array([[[4, 6], [7, 8]]], dtype=np.uint8)
    expected = np.array([[[1, 5, 0], [2, 4, 6], [0, 7, 8]]], dtype=np.uint8)
    result = overlay(first, second, 1)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)
    # The maximum wins whichever image has it.
    np.testing.assert_array_equal(overlay(second, first, 1)[0, 1, 1], 8)


def test_against_loops():
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 5, 6, 7))
    result = overlay(first, second, 3)
    for n in range(5):
        for i in range(9):
            for j in range(10):
                values = [0.0]
                if i < 6 and j < 7:
                    values.append(first[n, i, j])
                if i >= 3 and j >= 3:
                    values.append(second[n, i - 3, j - 3])
                assert result[n, i, j] == max(values)


def test_no_shift_and_no_overlap():
    first, second = np.random.default_rng(1).random((2, 3, 4, 4))
    np.testing.assert_array_equal(overlay(first, second, 0), np.maximum(first, second))
    apart = overlay(first, second, 4)
    np.testing.assert_array_equal(apart[:, :4, :4], first)
    np.testing.assert_array_equal(apart[:, 4:, 4:], second)
    assert apart[:, :4, 4:].sum() == 0


@pytest.mark.parametrize(
    ("first", "second", "shift"),
    [
        (np.zeros((2, 3, 3)), np.zeros((2, 3, 4)), 1),
        (np.zeros((3, 3)), np.zeros((3, 3)), 1),
        (np.zeros((2, 3, 3)), np.zeros((2, 3, 3), dtype=np.float32), 1),
        (np.zeros((2, 3, 3)), np.zeros((2, 3, 3)), -1),
    ],
)
def test_bad_input(first, second, shift):
    with pytest.raises(ValueError, match="overlay needs"):
        overlay(first, second, shift)
