"""Linear systems on supports: many right sides with parts of one matrix."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg.lapack import dposv, dpotrf, dtrtri

from mtl_methods.solvers._gram import Vector, largest, solve_definite
from mtl_methods.solvers._nonnegative import Mask

__all__ = [
    "distance_bound",
    "inverse_of",
    "solve_beside_supports",
    "solve_by_series",
    "solve_on_supports",
]

_SHARED = 4
"""Number of problems on one support, on average, from which gathering them saves time."""

_TERMS = 40
"""Largest number of terms of a series."""

_LOOK = 4
"""Terms between two looks at their size."""

_ROUNDING = float(np.finfo(np.float64).eps)


def solve_on_supports(system: Vector, right: Vector, free: Mask) -> Vector:
    """Solve one linear system a row on its support; systems of one matrix are solved at once.

    Args:
        system: The matrix, symmetric positive definite, shape (K, K).
        right: One right side a row, of which the entries on the support count, shape (r, K).
        free: The supports, shape (r, K), bool.

    Returns:
        The solutions, zero off the supports, shape (r, K).
    """
    count, size = free.shape
    found = np.zeros((count, size))
    packed = free.tobytes()
    keys = [packed[first : first + size] for first in range(0, count * size, size)]
    if _SHARED * len(set(keys)) <= count:
        together: dict[bytes, list[int]] = {}
        for row, key in enumerate(keys):
            together.setdefault(key, []).append(row)
        for members in together.values():
            (index,) = free[members[0]].nonzero()
            if index.size:
                block = system.take(index, 0).take(index, 1)
                solved, _ = solve_definite(block, right[members].take(index, 1).T)
                rows = np.zeros((len(members), size))
                rows[:, index] = solved.T
                found[members] = rows
        return found
    places = free.ravel().nonzero()[0]
    columns, values = places % size, right.ravel().take(places)
    ends = places.searchsorted(np.arange(size, size * (count + 1), size)).tolist()
    take = system.take  # looked up once for some 80 calls
    parts, begin = [], 0
    for end in ends:
        if end > begin:
            index = columns[begin:end]
            block = take(index, 0).take(index, 1)
            parts.append(dposv(block.T, values[begin:end], 1, 1)[1])
        begin = end
    if parts:
        found.ravel()[places] = np.concatenate(parts)
    return found


def solve_beside_supports(inverse: Vector, right: Vector, free: Mask) -> Vector:
    """Solve the systems of :func:`solve_on_supports` by smaller ones on what large supports leave.

    With P the inverse of the matrix and r zero off the support, the solution is ``P (r + f)``,
    where the forces f on the rest C keep it zero there: ``P_CC f = -(P r)_C``. Its error grows
    with the norm of ``P r``.

    Args:
        inverse: P, shape (K, K).
        right: See :func:`solve_on_supports`.
        free: See there.
    """
    found: Vector = (right * free) @ inverse
    forces = solve_on_supports(inverse, -found, ~free)
    found += forces @ inverse
    found *= free
    return found


def solve_by_series(distance: Vector, nothing: float, right: Vector, free: Mask) -> Vector:
    """Solve the systems of :func:`solve_on_supports` for a matrix near the identity, side by side.

    With ``E = I - matrix`` and P the projection on a support, the solution is
    ``(1 + P E + (P E)² + ...) P right``, whose terms shrink by the norm of E. Many problems cost
    little more than one.

    Args:
        distance: E, symmetric, shape (K, K).
        nothing: Size of a term after which there are no more, beside that of rounding.
        right: See :func:`solve_on_supports`.
        free: See there.
    """
    kept = free.astype(np.float64)
    term = right * kept
    found = term.copy()
    for number in range(1, _TERMS + 1):
        term = term @ distance
        term *= kept
        found += term
        if number % _LOOK == 0:
            size = largest(np.abs(term))
            if size <= nothing or size <= _ROUNDING * largest(np.abs(found)):
                break
    return found


def distance_bound(distance: Vector) -> float:
    """Return a bound of the spectral norm of a symmetric matrix, ``‖E²‖_∞^(1/2)``."""
    return math.sqrt(float(np.abs(distance @ distance).sum(axis=1).max()))


def inverse_of(matrix: Vector) -> Vector:
    """Return the inverse of a regular matrix."""
    root, _ = dtrtri(dpotrf(matrix.T, 1)[0], 1)
    inverse: Vector = root.T @ root
    return inverse
