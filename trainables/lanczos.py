"""The largest eigenvalues of a symmetric matrix that is only known by its products."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from mtl_methods.errors import ConfigurationError

__all__ = ["Eigenvalues", "largest_eigenvalues"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Eigenvalues:
    """The largest eigenvalues of a symmetric matrix, largest first.

    Attributes:
        values: The eigenvalues.
        residuals: ||A x - lambda x|| of each with its unit vector x, computed with one more product
            each: an eigenvalue of A lies within this distance of lambda.
        iterations: How many products found them.
        converged: Whether all met the tolerance.
    """

    values: tuple[float, ...]
    residuals: tuple[float, ...]
    iterations: int
    converged: bool


def largest_eigenvalues(
    product: Callable[[Tensor], Tensor],
    size: int,
    k: int = 1,
    *,
    seed: int = 0,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Eigenvalues:
    """The k algebraically largest eigenvalues of a symmetric matrix A, by Lanczos.

    From a random unit vector q_1, with Q_j = [q_1 ... q_j] and beta_0 = 0::

        r_j      = A q_j - Q_j Q_j^T A q_j       (orthogonalised twice against all of Q_j)
        alpha_j  = <q_j, A q_j>,  beta_j = ||r_j||,  q_(j+1) = r_j / beta_j
        T_j      = tridiag(beta; alpha; beta),   T_j s_i = theta_i s_i

    theta_i approximates an eigenvalue with the vector Q_j s_i and the residual beta_j |s_(j,i)|.
    It has converged when the residual is at most ``tolerance`` times the larger of |theta_i| and
    ``tolerance`` max |theta|. Where Q_j spans an invariant subspace before there are k values, the
    iteration goes on from a new random vector orthogonal to it. One sequence sees an eigenvalue
    that occurs several times usually once.

    Source: Golub and Van Loan, Matrix Computations, sections 10.1 and 10.3 (complete
    reorthogonalisation); the use for loss surfaces follows Ghorbani, Krishnan and Xiao, "An
    Investigation into Neural Net Optimization via Hessian Eigenvalue Density" (2019).

    Args:
        product: v -> A v for a vector of ``size`` numbers.
        size: The number of rows of A.
        k: How many eigenvalues.
        seed: Seed of the start, drawn on the CPU.
        tolerance: The relative residual at which an eigenvalue counts as found.
        max_iterations: The most products; so many vectors are kept in memory.
        dtype: Type of the vectors.
        device: Where they live.

    Raises:
        ConfigurationError: If k is not between 1 and the smaller of ``size`` and
            ``max_iterations``.
    """
    limit = min(size, max_iterations)
    if not 1 <= k <= limit:
        raise ConfigurationError(
            f"k = {k} is not valid; there are at most {limit} eigenvalues (of {size} rows and "
            f"{max_iterations} iterations)"
        )
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(device, dtype)

    smallest = float(torch.finfo(dtype).eps) * math.sqrt(size)
    basis = torch.zeros((limit, size), dtype=dtype, device=device)
    diagonal: list[float] = []
    beside: list[float] = []
    start = draw()
    basis[0] = start / start.norm()
    while True:
        count = len(diagonal) + 1
        known = basis[:count]
        rest = product(basis[count - 1])
        diagonal.append(float(basis[count - 1] @ rest))
        rest = _orthogonal(rest, known)
        values, vectors = _eigen(diagonal, beside)
        scale = float(np.abs(values).max())
        beta = float(rest.norm())
        # Rounding alone is left: the subspace is invariant, or the whole space.
        invariant = beta <= smallest * scale or count == size
        beta = 0.0 if invariant else beta
        bounds = tolerance * np.maximum(np.abs(values[:k]), tolerance * scale)
        converged = count >= k and bool((beta * np.abs(vectors[-1, :k]) <= bounds).all())
        if converged or count == limit:
            break
        if invariant:
            rest = _orthogonal(draw(), known)
        basis[count] = rest / rest.norm()
        beside.append(beta)
    residuals = []
    for position in range(k):
        vector = known.T @ torch.from_numpy(vectors[:, position]).to(known)
        vector /= vector.norm()
        residuals.append(float((product(vector) - float(values[position]) * vector).norm()))
    if not converged:
        logger.warning(
            "Lanczos has not converged after %d iterations: eigenvalue %g, residual %g",
            *(count, values[k - 1], residuals[-1]),
        )
    return Eigenvalues(tuple(map(float, values[:k])), tuple(residuals), count, converged)


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """What is left of a vector outside the span of orthonormal rows; twice is enough."""
    for _ in range(2):
        vector = vector - basis.T @ (basis @ vector)
    return vector


def _eigen(
    diagonal: Sequence[float], beside: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Eigenvalues, largest first, and vectors of a tridiagonal matrix."""
    found, columns = eigh_tridiagonal(np.asarray(diagonal), np.asarray(beside))
    values = np.asarray(found, dtype=np.float64)[::-1]
    vectors = np.asarray(columns, dtype=np.float64)[:, ::-1]
    return values, np.ascontiguousarray(vectors)
