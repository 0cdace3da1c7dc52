"""Several nonnegative quadratic problems with one matrix, solved side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf

from mtl_methods.solvers._dependent_rows import minimise_dependent_rows
from mtl_methods.solvers._gram import EPSILON, Vector, least
from mtl_methods.solvers._nonnegative import minimise_nonnegative, semidefinite
from mtl_methods.solvers._regular_rows import minimise_regular_rows
from mtl_methods.solvers._rows import Rows

__all__ = ["minimise_nonnegative_rows"]

_FEW = 8
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
        solved = numbers.size
        for row in _without_single(matrix, linear, numbers, found).tolist():
            solved -= 1
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


def _without_single(
    matrix: Vector, linear: Vector, numbers: NDArray[np.intp], found: Vector
) -> NDArray[np.intp]:
    """Solve the problems whose minimiser has one positive entry; return the others.

    It is ``b_j``, at the only positive b: at two tasks all problems of ``u >= 0`` are of this kind.

    Args:
        matrix: H.
        linear: One b a row, shape (R, K).
        numbers: The problems, each with a positive b, shape (r,).
        found: Where their minimisers are put.
    """
    right = linear[numbers]
    single = np.count_nonzero(right > 0.0, axis=1) == 1
    entries = right.argmax(axis=1)
    values = right.max(axis=1)
    single &= (matrix[entries] * values[:, None] >= right).all(axis=1)
    found[numbers[single], entries[single]] = values[single]
    others: NDArray[np.intp] = numbers[~single]
    return others


def _pivots(matrix: Vector) -> Vector | None:
    """Return the pivots of a regular matrix, or nothing if it is none."""
    factor, info = dpotrf(matrix.T, 1)
    if info:
        return None
    pivots: Vector = factor.diagonal() ** 2
    return pivots if least(pivots) > _REGULAR else None
