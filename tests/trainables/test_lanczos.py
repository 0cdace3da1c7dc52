"""The Lanczos iteration against matrices whose eigenvalues are known."""

from __future__ import annotations

import logging

import pytest
import torch

from mtl_methods.errors import ConfigurationError
from trainables.lanczos import largest_eigenvalues


def symmetric(eigenvalues, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.as_tensor(eigenvalues, dtype=torch.float64)
    q, _ = torch.linalg.qr(
        torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    )
    return q @ torch.diag(values) @ q.T


def test_the_largest_values_of_a_dense_spectrum_with_true_residuals():
    matrix = symmetric(torch.linspace(-3.0, 2.0, 120, dtype=torch.float64))
    found = largest_eigenvalues(lambda v: matrix @ v, 120, k=3, tolerance=1e-10, max_iterations=120)
    step = 5.0 / 119
    assert found.values == pytest.approx((2.0, 2.0 - step, 2.0 - 2 * step), abs=1e-9)
    assert found.converged
    assert max(found.residuals) < 1e-8


def test_the_largest_is_the_most_positive_not_the_largest_in_size():
    matrix = symmetric([-100.0, -1.0, 0.0, 0.5, 3.0])
    found = largest_eigenvalues(lambda v: matrix @ v, 5, tolerance=1e-12)
    assert found.values == pytest.approx((3.0,), abs=1e-10)


def test_a_residual_bounds_the_distance_to_an_eigenvalue():
    exact = torch.linspace(0.0, 1.0, 200) ** 2
    matrix = symmetric(exact)
    found = largest_eigenvalues(lambda v: matrix @ v, 200, max_iterations=8)
    assert not found.converged
    assert found.iterations == 8
    assert found.residuals[0] > 1e-3
    assert float((exact - found.values[0]).abs().min()) <= found.residuals[0]


def test_missed_convergence_is_said(caplog):
    matrix = symmetric(torch.linspace(0.0, 1.0, 50))
    with caplog.at_level(logging.WARNING, logger="trainables.lanczos"):
        largest_eigenvalues(lambda v: matrix @ v, 50, max_iterations=2)
    assert "not converged after 2 iterations" in caplog.text


@pytest.mark.parametrize(
    ("eigenvalues", "expected"),
    [
        ([0.0] * 4, (0.0, 0.0)),
        ([2.0] * 4, (2.0, 2.0)),
        ([0.0, 0.0, 0.0, 5.0], (5.0, 0.0)),
        ([-1.0, -2.0, -3.0, -4.0], (-1.0, -2.0)),
    ],
)
def test_invariant_subspaces_that_end_the_sequence_early(eigenvalues, expected):
    matrix = symmetric(eigenvalues)
    found = largest_eigenvalues(lambda v: matrix @ v, 4, k=2, tolerance=1e-10)
    assert found.values == pytest.approx(expected, abs=1e-12)
    assert max(found.residuals) < 1e-12
    assert found.converged


def test_a_single_row():
    found = largest_eigenvalues(lambda v: -7.0 * v, 1)
    assert found.values == (-7.0,)
    assert found.residuals == (0.0,)


def test_the_start_is_seeded():
    matrix = symmetric(torch.linspace(0.0, 1.0, 60))

    def values(seed):
        return largest_eigenvalues(lambda v: matrix @ v, 60, seed=seed, max_iterations=10).values

    assert values(1) == values(1)
    assert values(1) != values(2)


@pytest.mark.parametrize("k", [0, 6])
def test_more_values_than_there_are(k):
    with pytest.raises(ConfigurationError, match=f"k = {k} is not valid; there are at most 5"):
        largest_eigenvalues(lambda v: v, 5, k=k)
