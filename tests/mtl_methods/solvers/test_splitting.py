import numpy as np
import pytest
from gradient_cases import gram_of

from mtl_methods.solvers._nonnegative import minimise_nonnegative, semidefinite
from mtl_methods.solvers._splitting import PENALTY, Steps, split, split_in_turn

SINGLE = float(np.finfo(np.float32).eps)


def cosines_of(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return gram_of(unit)


def test_steps_lead_to_the_minimisers():
    matrix = cosines_of(np.random.default_rng(0).normal(size=(12, 30)))
    linear = np.random.default_rng(1).normal(size=(5, 12))
    state, penalty, _ = split(matrix, linear, None, 16, PENALTY)
    assert penalty > PENALTY
    for _ in range(4):
        state, penalty, _ = split(matrix, linear, state, 32, penalty)
    for h, right in zip(state, linear, strict=True):
        exact = minimise_nonnegative(matrix, right)
        np.testing.assert_allclose(np.maximum(h, 0.0), exact.point, atol=1e-6)
        np.testing.assert_array_equal(h > 0.0, exact.point > 0.0)


def test_a_change_of_penalty_keeps_point_and_slope():
    matrix = cosines_of(np.random.default_rng(0).normal(size=(12, 30)))
    linear = np.random.default_rng(1).normal(size=(1, 12))
    state, penalty = None, 0.5
    for _ in range(6):
        state, penalty, _ = split(matrix, linear, state, 40, penalty)
    slope = matrix @ np.maximum(state[0], 0.0) - linear[0]
    np.testing.assert_allclose(penalty * np.maximum(-state[0], 0.0), slope, atol=1e-8)


def test_penalties_in_turn():
    """Each part goes on from where the one before it led, so the minimisers stay minimisers."""
    matrix = cosines_of(np.random.default_rng(0).normal(size=(12, 30)))
    linear = np.random.default_rng(1).normal(size=(5, 12))
    reached = split_in_turn(matrix, linear, None, [(300, 0.5), (1, 0.02), (1, 3.0)])
    for h, right in zip(reached.state, linear, strict=True):
        exact = minimise_nonnegative(matrix, right)
        np.testing.assert_allclose(np.maximum(h, 0.0), exact.point, atol=1e-9)
        slope = reached.penalty * np.maximum(-h, 0.0)
        np.testing.assert_allclose(slope, matrix @ exact.point - right, atol=1e-9)


def test_steps_until_they_settle():
    matrix = cosines_of(np.random.default_rng(0).normal(size=(12, 30)))
    linear = np.random.default_rng(1).normal(size=(5, 12))
    steps = Steps(matrix, linear, 0.5)
    settled, reached = steps.settle(steps.take(None, 1), 400, 1e-9)
    assert reached
    further = steps.take(settled.copy(), 1)
    assert np.linalg.norm(further - settled) <= 1e-9 * np.linalg.norm(settled)
    _, reached = steps.settle(steps.take(None, 1), 8, 1e-9)
    assert not reached


@pytest.mark.parametrize("rank", [5, 20, 30])
def test_noise_of_float32_is_taken_off_the_rank(rank):
    rows = np.random.default_rng(rank).normal(size=(40, rank)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rounded = (rows @ rows.T).astype(np.float64)
    assert np.linalg.eigvalsh(rounded)[0] < -1e-9
    cleared = semidefinite(rounded, SINGLE)
    values = np.linalg.eigvalsh(cleared)
    assert np.abs(values[: 40 - rank]).max() < 1e-13
    assert values[40 - rank] > 1e-3
    assert np.abs(cleared - rounded).max() <= 6.0 * SINGLE


def test_without_a_gap_the_diagonal_is_raised():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(1, 84)) + 1e-3 * rng.normal(size=(40, 84))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rounded = (rows @ rows.T).astype(np.float64)
    raised = semidefinite(rounded, SINGLE)
    assert np.linalg.eigvalsh(raised)[0] > 0.0
    off = ~np.eye(40, dtype=bool)
    np.testing.assert_array_equal(raised[off], rounded[off])


def test_exact_matrices_are_left_alone():
    matrix = cosines_of(np.random.default_rng(0).normal(size=(6, 3)))
    assert semidefinite(matrix, 1e-15) is matrix
