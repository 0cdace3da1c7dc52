"""Checks and unit scaling of Gram matrices, shared by every solver."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.lapack import dposv

from mtl_methods.errors import ConfigurationError, SolverError
from mtl_methods.solvers.finite import is_finite

__all__ = [
    "EPSILON",
    "Vector",
    "checked_gram",
    "checked_vector",
    "largest",
    "least",
    "lengths_of",
    "solve_definite",
    "unit_gram",
]

Vector: TypeAlias = NDArray[np.float64]

EPSILON = 2.220446049250313e-16
"""Distance from 1 to the next float64."""

_ASYMMETRY = 1e-5
"""Largest |G_ij - G_ji| relative to ``||g_i|| ||g_j||`` taken for rounding (bfloat16 excluded)."""


def checked_gram(gram: ArrayLike) -> Vector:
    """Return the Gram matrix in float64, finite and exactly symmetric.

    Args:
        gram: Inner products of the task gradients, shape (K, K), symmetric up to rounding; the
            mean of mirrored entries is taken where they differ.

    Raises:
        ConfigurationError: It is not a square matrix with at least one row.
        SolverError: An entry is NaN or infinite, or the matrix is not symmetric.
    """
    matrix = np.asarray(gram, dtype=np.float64, order="C")
    shape = matrix.shape
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise ConfigurationError(
            f"a Gram matrix must have shape (K, K) with K >= 1, but this one has shape {shape}"
        )
    if not is_finite(matrix):
        raise SolverError("the Gram matrix has an entry that is NaN or infinite")
    mirrored = matrix.T
    if matrix.tobytes() != mirrored.tobytes():  # equal bits, in half the time of equal numbers
        lengths = lengths_of(matrix)
        gap = np.abs(matrix - mirrored)
        if (gap > _ASYMMETRY * lengths * lengths[:, None]).any():
            raise SolverError(
                "the Gram matrix is not symmetric: two mirrored entries differ by up to "
                f"{gap.max():.3g}, which is no rounding"
            )
        matrix = 0.5 * matrix + 0.5 * mirrored
    return matrix


def checked_vector(vector: ArrayLike, size: int, name: str) -> Vector:
    """Return a float64 vector of the given size.

    Args:
        vector: The values, shape (size,).
        size: Number of tasks K.
        name: What the values are, for the message.

    Raises:
        ConfigurationError: It has another shape.
        SolverError: An entry is NaN or infinite.
    """
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (size,):
        raise ConfigurationError(
            f"{name} must have shape ({size},) like the Gram matrix, but has shape {values.shape}"
        )
    if not is_finite(values):
        raise SolverError(f"{name} has an entry that is NaN or infinite")
    return values


def least(values: Vector) -> float:
    """Return the smallest entry, NaN where one is, five times faster than ``values.min()``."""
    return values.item(values.argmin())


def largest(values: Vector) -> float:
    """Return the largest entry, see :func:`least`."""
    return values.item(values.argmax())


def lengths_of(matrix: Vector) -> Vector:
    """Return the gradient norms ``sqrt(diag G)``, shape (K,).

    Raises:
        SolverError: A diagonal entry is negative, so the matrix is no Gram matrix.
    """
    diagonal = matrix.diagonal()
    if least(diagonal) < 0.0:
        raise SolverError(
            "the Gram matrix has a negative diagonal entry, which no squared gradient norm can be"
        )
    lengths: Vector = np.sqrt(diagonal)
    return lengths


def unit_gram(matrix: Vector, inverse_lengths: Vector) -> Vector:
    """Return the Gram matrix of the unit gradients ``g_i / ||g_i||``, the matrix of cosines.

    Args:
        matrix: Symmetric Gram matrix, shape (K, K).
        inverse_lengths: ``1 / ||g_i||``, all finite, shape (K,).

    Returns:
        A new matrix, shape (K, K), with a diagonal of exactly 1 (also where the norm is 0).
    """
    cosines = matrix * inverse_lengths
    cosines *= inverse_lengths[:, None]
    cosines.ravel()[:: matrix.shape[0] + 1].fill(1.0)
    return cosines


def solve_definite(matrix: Vector, right: Vector) -> tuple[Vector, int]:
    """Solve ``A x = b`` for a symmetric positive definite A, which is overwritten.

    LAPACK wants Fortran's order; handing it the transpose, which is the same matrix, saves a copy
    that costs as much as the factorisation at 40 tasks.

    Args:
        matrix: A, C-contiguous, shape (n, n); overwritten.
        right: b, shape (n,), or several as columns, shape (n, r).

    Returns:
        x in the shape of b, and 0, or a positive number if A is not positive definite.
    """
    _, solution, info = dposv(matrix.T, right, 1, 1)
    return solution, info
