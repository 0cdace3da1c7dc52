import numpy as np
import pytest
from gradient_cases import gram_of
from scipy.optimize import nnls

from mtl_methods.solvers._dependent_rows import Scaling
from mtl_methods.solvers._nonnegative_rows import minimise_nonnegative_rows
from mtl_methods.solvers._splitting import Steps

TASKS = 40


def unit_rows(rank, seed):
    rows = np.random.default_rng([rank, seed]).normal(size=(TASKS, rank))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("rank", [12, 18, 20, 22, 25, 30, 38])
@pytest.mark.parametrize("seed", range(4))
def test_against_nonnegative_least_squares(rank, seed):
    """``1/2 y'Hy - b'y`` with ``H = G G'`` and ``b = -H u`` is ``1/2 ||G'(y + u)||²``."""
    rows = unit_rows(rank, seed)
    origin = np.eye(TASKS)
    found, _ = minimise_nonnegative_rows(gram_of(rows), origin)
    assert (found >= 0.0).all()
    for y, u in zip(found, origin, strict=True):
        _, least = nnls(rows.T, -rows.T @ u)
        size = y.sum() + 1.0
        assert np.linalg.norm(rows.T @ (y + u)) <= least + 1e-7 * size


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
