"""Convex quadratic minimisation over the nonnegative orthant, exact by active sets."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpstrf

from mtl_methods.solvers._gram import EPSILON, Vector, largest, least, solve_definite
from mtl_methods.solvers._splitting import PENALTY, split

__all__ = [
    "Mask",
    "NonnegativeMinimum",
    "active_set",
    "independent",
    "limit_of",
    "minimise_nonnegative",
    "regularised",
    "semidefinite",
]

_GRACE = 4
"""Block exchanges without progress before one index is exchanged at a time."""

_FEW = 8
"""Size up to which :func:`active_set` starts from 0: a first guess costs more than it saves."""

_STEPS = (16, 32)
"""Splitting steps towards the point from which it starts otherwise."""

_PROXIMITY = 1e-12
"""Weight of the distance to the last point, relative to the diagonal, in a step's system."""

_RIDGE = 1.5
"""What makes a rounded Gram matrix positive definite again, over √K times its precision: the norm
of a symmetric matrix of independent errors is about 2√K times theirs, of which rounding to
nearest uses a part."""

_NOISE = 6.0
"""Multiple of the precision by which leaving out eigenvalues may change an entry."""

_GAP = 64.0
"""Multiple of the precision that the other eigenvalues exceed where the rank is clear."""

_SLACK = 2.0
"""Multiple of the precision up to which a slope counts as zero."""

_INDEPENDENT = 64.0
"""Multiple of the precision that every pivot of independent gradients exceeds."""

_REGULAR = 1e-9
"""What every pivot of independent gradients exceeds besides."""

_DUST = 1e-14
"""A coordinate that a step to the boundary leaves so small, relative to the largest, is zero."""


Mask: TypeAlias = NDArray[np.bool_]


class NonnegativeMinimum(NamedTuple):
    """A minimiser of ``1/2 y'Hy - b'y`` over ``y >= 0``.

    Attributes:
        point: The minimiser y, shape (K,).
        slope: The gradient ``Hy - b`` at y, shape (K,); zero where ``y > 0``, else nonnegative.
        passive: Where y is free to be positive, shape (K,), bool.
        iterations: Linear systems solved.
    """

    point: Vector
    slope: Vector
    passive: Mask
    iterations: int


def limit_of(precision: float) -> float:
    """The slope that counts as zero, relative to ``Σ|y_j| + max|b_j|``."""
    return 64.0 * EPSILON if precision <= 64.0 * EPSILON else _SLACK * precision


def independent(matrix: Vector, precision: float) -> bool:
    """Whether a Gram matrix is regular far beyond its precision, by the pivots of its factor."""
    factor, info = dpotrf(matrix.T, 1)
    least = _INDEPENDENT * precision + _REGULAR
    return not info and float(factor.diagonal().min()) ** 2 > least


def regularised(matrix: Vector, precision: float) -> Vector:
    """The matrix, or one within its precision that is positive definite.

    Entries of a Gram matrix of float32 gradients are off by about 1e-7: where the gradients
    depend on each other the matrix is indefinite, and problems with it have no minimiser.

    Args:
        matrix: Symmetric, diagonal of order 1, shape (K, K).
        precision: Accuracy of its entries.
    """
    if precision <= 64.0 * EPSILON or independent(matrix, precision):
        return matrix
    size = matrix.shape[0]
    raised = matrix.copy()
    diagonal = raised.ravel()[:: size + 1]
    diagonal *= 1.0 + _RIDGE * math.sqrt(size) * precision
    return raised


def semidefinite(matrix: Vector, precision: float) -> Vector:
    """The matrix, or one within its precision that is semidefinite to the last digit of float64.

    Where the rank of the gradients shows, the eigenvalues that rounding made of zeros become
    zeros again: no entry changes by more than 6 times the precision. Where the eigenvalues
    leave no gap the diagonal is raised, as in :func:`regularised`.

    Args:
        matrix: Symmetric, diagonal of order 1, shape (K, K).
        precision: Accuracy of its entries.
    """
    if precision <= 64.0 * EPSILON:
        return matrix
    cleared = _of_clear_rank(matrix, precision)
    if cleared is not None:
        return cleared
    values, vectors = np.linalg.eigh(matrix)
    parts = vectors * vectors
    parts *= np.maximum(values, 0.0)
    left_out = parts.cumsum(axis=1).max(axis=0)
    first = int(np.searchsorted(left_out, _NOISE * precision))
    if values[first] > _GAP * precision:
        kept = vectors[:, first:]
        without: Vector = (kept * values[first:]) @ kept.T
        return without
    raised = matrix.copy()
    ridge = max(_RIDGE * math.sqrt(values.size) * precision, -2.0 * float(values[0]))
    raised.ravel()[:: values.size + 1] += ridge
    return raised


def _of_clear_rank(matrix: Vector, precision: float) -> Vector | None:
    """The product of a pivoted factor that ends at a gap, if there is one."""
    # Far cheaper than the eigenvalues below, which settle what it leaves open.
    factor, pivots, rank, _ = dpstrf(matrix.T, tol=_NOISE * precision, lower=1)
    least = float(factor[rank - 1, rank - 1])
    if least * least <= _GAP * precision:
        return None
    root = (factor[:, :rank] * np.tri(pivots.size, rank)).take(pivots.argsort(), 0)
    product: Vector = root @ root.T
    return product if float(np.abs(product - matrix).max()) <= _NOISE * precision else None


def minimise_nonnegative(
    matrix: Vector,
    linear: Vector,
    passive: Mask | None = None,
    *,
    point: Vector | None = None,
    precision: float = EPSILON,
) -> NonnegativeMinimum:
    """Minimise ``1/2 y'Hy - b'y`` over ``y >= 0``.

    Block principal pivoting: solve on the passive set, exchange every index that violates its
    sign condition, and exchange single indices (Murty's rule, finite) when the number of
    violations stops falling. Where a passive block is singular, :func:`active_set` takes over.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, diagonal of order 1, (K, K).
        linear: b, such that a minimiser exists, shape (K,).
        passive: First guess of the positive set; everything where left out.
        point: A point near the minimiser, from which :func:`active_set` starts if it must; that
            of a few splitting steps where left out.
        precision: Accuracy of H's entries, see :func:`regularised`.

    Returns:
        The minimiser with its gradient, that of H as given.

    Source:
        J. J. Judice and F. M. Pires, "A block principal pivoting algorithm for large-scale
        strictly monotone linear complementarity problems", 1994.
    """
    size = linear.shape[0]
    free = np.ones(size, dtype=np.bool_) if passive is None else passive.copy()
    regular = regularised(matrix, precision)
    fewest = size + 1
    grace = _GRACE
    scale = float(np.abs(linear).max())
    limit = limit_of(precision)
    for iteration in range(1, 3 * size + 20):
        index = free.nonzero()[0]
        if index.size == size:
            found, info = solve_definite(regular.copy(), linear)
        elif index.size:
            block = regular.take(index, 0).take(index, 1)
            inner, info = solve_definite(block, linear.take(index))
            found = np.zeros(size)
            found[index] = inner
        else:
            found, info = np.zeros(size), 0
        if info:
            break
        slope = regular @ found - linear
        tolerance = limit * (float(np.abs(found).sum()) + scale)
        wrong = np.where(free, found < 0.0, slope < -tolerance)
        count = int(np.count_nonzero(wrong))
        if not count:
            if index.size and float(np.abs(slope[index]).max()) > tolerance:
                break
            if regular is not matrix:
                slope = matrix @ found - linear
            return NonnegativeMinimum(found, slope, free, iteration)
        if count < fewest:
            fewest, grace = count, _GRACE
        elif grace:
            grace -= 1
        elif regular is not matrix:
            break  # an index that enters by rounding would be exchanged without end
        else:
            last = int(wrong.nonzero()[0][-1])
            wrong = np.zeros(size, dtype=np.bool_)
            wrong[last] = True
        free = free ^ wrong
    if point is not None:
        start = point
    elif size > _FEW:
        start = _near(regular, linear)
    else:
        start = np.zeros(size)
    rest = active_set(regular, linear, start, limit=limit, scale=scale)
    return NonnegativeMinimum(
        rest.point, matrix @ rest.point - linear, rest.passive, iteration + rest.iterations
    )


def _near(matrix: Vector, linear: Vector) -> Vector:
    """A point near the minimiser, with most of its support."""
    first, rest = _STEPS
    state, penalty, _ = split(matrix, linear[None], None, first, PENALTY)
    state = split(matrix, linear[None], state, rest, penalty).state
    start: Vector = np.maximum(state[0], 0.0)
    return start


def active_set(
    matrix: Vector, linear: Vector, start: Vector, *, limit: float, scale: float
) -> NonnegativeMinimum:
    """Minimise from a point nearby by a primal active-set method, which needs no regular H.

    Each step minimises ``1/2 y'Hy - b'y`` plus a small multiple of the squared distance to the
    present point over the passive coordinates, and stops where the first of them reaches zero:
    a proximal-point step, whose system is regular whatever H is and which moves nothing along
    directions in which H does not curve. Once the passive slopes vanish, the coordinate that
    descends steepest becomes passive. The objective falls with every step.

    Args:
        matrix: H, as in :func:`minimise_nonnegative`.
        linear: b.
        start: A point, nonnegative, shape (K,); its positive coordinates are passive at first.
        limit: Slopes up to this, relative to ``Σ y_j + scale``, are zero.
        scale: See there.

    Returns:
        The minimiser; where the number of steps ran out, the last point.

    Source:
        C. L. Lawson and R. J. Hanson, "Solving Least Squares Problems", chapter 23; R. T.
        Rockafellar, "Monotone operators and the proximal point algorithm", 1976.
    """
    size = linear.shape[0]
    system = matrix.copy()
    diagonal = system.ravel()[:: size + 1]
    proximity = _PROXIMITY
    diagonal *= 1.0 + proximity
    point = start.copy()
    free = point > 0.0
    slope = matrix @ point - linear
    (index,) = free.nonzero()
    entered = -1
    barred: list[int] = []
    stalled = iterations = 0
    while iterations < 10 * size + 20:
        tolerance = limit * (float(point.sum()) + scale)
        inner = slope.take(index)
        rest = max(largest(inner), -least(inner)) if index.size else 0.0
        if rest <= tolerance or stalled > 3:
            descent = -slope
            descent[index] = 0.0
            if barred:
                descent[barred] = 0.0
            entered = int(descent.argmax())
            if descent[entered] <= tolerance:
                break
            free[entered] = True
            (index,) = free.nonzero()
            inner = slope.take(index)
            stalled = 0
        iterations += 1
        current = point.take(index)
        change, info = solve_definite(system.take(index, 0).take(index, 1), inner)
        if info:  # further from semidefinite than was said
            diagonal += proximity * diagonal
            proximity *= 100.0
            continue
        moved = current - change
        if least(moved) < 0.0:
            falling = moved < 0.0
            step = float((current[falling] / change[falling]).min())
            moved = current - step * change
            moved[moved <= _DUST * largest(moved)] = 0.0
            point[index] = moved
            free[index] = moved > 0.0
            (index,) = free.nonzero()
            if step > 0.0:
                barred = []
            if entered >= 0 and not free[entered] and np.count_nonzero(moved) == moved.size - 1:
                barred.append(entered)  # it entered by rounding: no other was in its way
            stalled = 0
        else:
            point[index] = moved
            barred = []
            stalled += 1
        slope = matrix.dot(point) - linear
    return NonnegativeMinimum(point, slope, free, iterations)
