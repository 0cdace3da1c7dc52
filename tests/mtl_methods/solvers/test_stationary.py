import numpy as np
import pytest
from gradient_cases import gram_of
from scipy.optimize import linprog

from mtl_methods.solvers._splitting import PENALTY, split
from mtl_methods.solvers._stationary import minimise_stationary

TASKS = 40
EACH = np.eye(TASKS)


def unit_rows(rank, seed):
    rows = np.random.default_rng([rank, seed]).normal(size=(TASKS, rank))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def minimised(rows, origin, points=None):
    """What is found from the given points, or those of a few splitting steps."""
    matrix = gram_of(rows)
    linear = -origin @ matrix
    if points is None:
        points = np.maximum(split(matrix, linear, None, 16, PENALTY).state, 0.0)
    system = matrix + 1e-12 * np.eye(TASKS)
    return minimise_stationary(matrix, system, linear, points, origin, 1e-13)


def in_balance(rows):
    """Whether some w >= 1 has Σ w_j g_j = 0, by linear programming."""
    zero = np.zeros(rows.shape[1])
    return linprog(np.ones(TASKS), A_eq=rows.T, b_eq=zero, bounds=(1.0, None)).status == 0


@pytest.mark.parametrize("rank", [1, 3, 8, 12])
@pytest.mark.parametrize("each", [True, False])
def test_every_problem_is_solved(rank, each):
    rows = unit_rows(rank, 0)
    origin = EACH if each else np.random.default_rng(rank).uniform(size=(7, TASKS))
    found = minimised(rows, origin)
    assert found is not None
    assert (found >= 0.0).all()
    size = (np.abs(origin) + found).sum(axis=1, keepdims=True)
    assert np.abs((origin + found) @ rows / size).max() <= 1e-12


@pytest.mark.parametrize("rank", [8, 16, 18, 20, 30])
def test_found_only_where_the_tasks_are_in_balance(rank):
    balanced = [in_balance(unit_rows(rank, seed)) for seed in range(16)]
    found = [minimised(unit_rows(rank, seed), EACH) is not None for seed in range(16)]
    assert all(np.array(balanced) >= np.array(found))
    assert sum(found) >= 0.7 * sum(balanced)
    assert any(balanced) == (rank < 30)


def test_one_task_apart_from_the_others():
    """The others' sum can be zero, but only with weight 0 on this one: its slope is not zero."""
    rows = np.zeros((TASKS, 7))
    rows[:-1, :6] = unit_rows(6, 0)[:-1]
    rows[-1, 6] = 1.0
    assert minimised(rows, EACH) is None


def test_a_common_direction():
    rows = unit_rows(6, 0)
    rows[:, 0] = np.abs(rows[:, 0])
    assert minimised(rows, EACH) is None
