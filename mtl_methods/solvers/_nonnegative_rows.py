"""Several nonnegative quadratic problems with one matrix, solved side by side."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf

from mtl_methods.solvers._dependent_rows import minimise_dependent_rows
from mtl_methods.solvers._gram import EPSILON, Vector, least
from mtl_methods.solvers._nonnegative import minimise_nonnegative, semidefinite
from mtl_methods.solvers._regular_rows import minimise_regular_rows
from mtl_methods.solvers._rows import Rows

__all__ = ["minimise_nonnegative_rows"]

_FEW = 5
"""Size up to which problems are solved one by one: a first guess costs more than it saves."""

_REGULAR = 1e-9
"""What every pivot of independent gradients exceeds."""

_COARSE = 64.0
"""Multiple of the precision below which a pivot may be noise."""

_PROXIMITY = 1e-12
"""Weight of the distance to the last point in a solve on a support."""


def minimise_nonnegative_rows(
    matrix: Vector, origin: Vector, precision: float = EPSILON
) -> tuple[Vector, int]:
    """Minimise ``1/2 y'Hy - b'y`` over ``y >= 0`` for several ``b = -H u`` at once.

    A few splitting steps (:func:`split`: one product of all problems with one matrix each) lead
    close to the minimisers; the linear systems on the supports found there are solved together,
    which finishes most problems. The others exchange the indices that violate their sign
    conditions, after more steps where they are many. The last few go to :func:`active_set` from
    where they stand. How the steps' penalty is chosen, which decides how far they come, depends
    on whether H is regular: :func:`minimise_regular_rows`, :func:`minimise_dependent_rows`.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, unit diagonal, shape (K, K).
        origin: One u a row, shape (R, K).
        precision: Accuracy of H's entries, see :func:`semidefinite`.

    Returns:
        The minimisers, shape (R, K), and the number of linear systems solved.
    """
    count, size = origin.shape
    magnitudes = np.abs(origin)
    scale = magnitudes.max(axis=1, keepdims=True)
    scale[scale == 0.0] = 1.0
    unit = origin / scale
    linear = -(unit @ matrix)
    found = np.zeros((count, size))
    (numbers,) = (linear > 0.0).any(axis=1).nonzero()
    solved = 0
    if size <= _FEW or numbers.size == 1:
        for row in numbers.tolist():
            guess = linear[row] > 0.0
            minimum = minimise_nonnegative(matrix, linear[row], guess, precision=precision)
            found[row] = minimum.point
            solved += minimum.iterations
        return found * scale, solved
    if not numbers.size:
        return found, 0
    pivots = _pivots(matrix)
    if pivots is None or least(pivots) <= _COARSE * precision:
        cleared = semidefinite(matrix, precision)
        if cleared is not matrix:
            matrix, pivots = cleared, _pivots(cleared)
            linear = -(unit @ matrix)
    linear = linear[numbers]
    sizes = magnitudes.sum(axis=1)[numbers] / scale[numbers, 0]
    rows = Rows(numbers, linear, sizes, linear, linear, linear > 0.0, found)
    system = matrix.copy()
    system.ravel()[:: size + 1] += _PROXIMITY
    if pivots is None:
        solved = minimise_dependent_rows(matrix, system, rows, unit[numbers])
    else:
        solved = minimise_regular_rows(matrix, system, rows, pivots)
    return found * scale, solved


def _pivots(matrix: Vector) -> Vector | None:
    """Return the pivots of a regular matrix, or nothing if it is none."""
    factor, info = dpotrf(matrix.T, 1)
    if info:
        return None
    pivots: Vector = factor.diagonal() ** 2
    return pivots if least(pivots) > _REGULAR else None
