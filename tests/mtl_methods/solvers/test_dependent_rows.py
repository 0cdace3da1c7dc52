import numpy as np
import pytest
from gradient_cases import gram_of

from mtl_methods.solvers._dependent_rows import Scaling
from mtl_methods.solvers._nonnegative_rows import minimise_nonnegative_rows
from mtl_methods.solvers._splitting import Steps

TASKS = 40


def unit_rows(rank, seed):
    rows = np.random.default_rng([rank, seed]).normal(size=(TASKS, rank))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("rank", [12, 18, 20, 22, 25, 30, 38])
@pytest.mark.parametrize("seed", range(4))
def test_every_problem_is_solved(rank, seed):
    rows = unit_rows(rank, seed)
    found, _ = minimise_nonnegative_rows(gram_of(rows), np.eye(TASKS))
    slope = (found + np.eye(TASKS)) @ gram_of(rows)
    tolerance = 1e-12 * (1.0 + found.sum(axis=1, keepdims=True))
    assert (found >= 0.0).all()
    assert (slope >= -tolerance).all()
    assert (np.where(found > 0.0, slope, 0.0) <= tolerance).all()


def test_few_systems_are_solved():
    """The steps lead so near that most supports are right at once: 40 systems would be the least.

    Wrong coordinates, penalties or points still end at the minimisers, after more systems.
    """
    solved = [
        minimise_nonnegative_rows(gram_of(unit_rows(rank, seed)), np.eye(TASKS))[1]
        for rank in (22, 25, 30)
        for seed in range(12)
    ]
    assert np.median(solved) <= 43
    assert np.mean(solved) <= 56


def test_balance_is_found_at_once():
    found = [
        minimise_nonnegative_rows(gram_of(unit_rows(18, seed)), np.eye(TASKS))[1] == 1
        for seed in range(16)
    ]
    assert sum(found) >= 9


def test_scaled_coordinates_keep_points_and_slopes():
    matrix = gram_of(unit_rows(22, 0))
    linear = -np.eye(TASKS) @ matrix
    penalty = 0.2
    plain = Steps(matrix, linear, penalty).take(None, 16)
    first = Scaling(plain)
    once = first.change(plain)
    second = Scaling(once[:5], first)
    twice = second.change(once[:5])
    for scaling, state in ((first, once[:5]), (second, twice)):
        np.testing.assert_allclose(np.maximum(state, 0.0) * scaling.inverse, plain[:5].clip(0.0))
        np.testing.assert_allclose(np.minimum(state, 0.0) * scaling.root, plain[:5].clip(max=0.0))
    shares = (plain > 0.0).mean(axis=0)
    assert (np.diff(first.root[np.argsort(shares)]) <= 1e-12).all()
    assert first.root.prod() == pytest.approx(1.0)
