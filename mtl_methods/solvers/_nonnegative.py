"""Convex quadratic minimisation over the nonnegative orthant, exact by active sets."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

from mtl_methods.solvers._gram import EPSILON, Vector

__all__ = ["NonnegativeMinimum", "minimise_nonnegative", "minimise_nonnegative_batch"]

_GRACE = 4
"""Block exchanges without progress before one index is exchanged at a time."""

_FEW = 8
"""Size up to which a first guess costs more than it saves."""

_GUESSES = 10
"""Gradient steps for the first guess of a batch."""

_SWEEPS = 6
"""Exchanges of a batch before its remaining problems are finished one by one."""

_DEPENDENT = 1e-13
"""A squared distance (of unit vectors) to the span of the passive ones that counts as zero."""

_SHARED = 0.01
"""Least entry, relative to the largest, by which a vanishing combination is scaled."""


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


def minimise_nonnegative(
    matrix: Vector,
    linear: Vector,
    passive: Mask | None = None,
) -> NonnegativeMinimum:
    """Minimise ``1/2 y'Hy - b'y`` over ``y >= 0``.

    Block principal pivoting: solve on the passive set, exchange every index that violates its
    sign condition, and exchange single indices (Murty's rule, finite) when the number of
    violations stops falling. Where a passive block is singular, a primal active-set method in the
    manner of Lawson and Hanson takes over; it keeps the passive block regular and lowers the
    objective with every exchange, so it ends too.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, diagonal of order 1, (K, K).
        linear: b, such that a minimiser exists, shape (K,).
        passive: First guess of the positive set; everything where left out.

    Returns:
        The minimiser with its gradient.

    Source:
        J. J. Judice and F. M. Pires, "A block principal pivoting algorithm for large-scale
        strictly monotone linear complementarity problems", 1994; C. L. Lawson and R. J. Hanson,
        "Solving Least Squares Problems", chapter 23.
    """
    size = linear.shape[0]
    free = np.ones(size, dtype=np.bool_) if passive is None else passive.copy()
    fewest = size + 1
    grace = _GRACE
    scale = float(np.abs(linear).max())
    for iteration in range(1, 3 * size + 20):
        index = free.nonzero()[0]
        if index.size == size:
            _, point, info = dposv(matrix, linear)
        elif index.size:
            _, inner, info = dposv(matrix.take(index, 0).take(index, 1), linear.take(index))
            point = np.zeros(size)
            point[index] = inner
        else:
            point, info = np.zeros(size), 0
        if info:
            break
        slope = matrix @ point - linear
        tolerance = 64.0 * EPSILON * (float(np.abs(point).sum()) + scale)
        wrong = np.where(free, point < 0.0, slope < -tolerance)
        count = int(np.count_nonzero(wrong))
        if not count:
            if index.size and float(np.abs(slope[index]).max()) > tolerance:
                break
            return NonnegativeMinimum(point, slope, free, iteration)
        if count < fewest:
            fewest, grace = count, _GRACE
        elif grace:
            grace -= 1
        else:
            last = int(wrong.nonzero()[0][-1])
            wrong = np.zeros(size, dtype=np.bool_)
            wrong[last] = True
        free = free ^ wrong
    return _active_set(matrix, linear, iteration)


def _active_set(matrix: Vector, linear: Vector, iterations: int) -> NonnegativeMinimum:
    """Minimise by a primal active-set method, which needs no regular H.

    The passive block stays regular: an index whose column depends on the passive ones takes the
    place of one of them, at the end of a step along the direction in which H does not curve.

    Args:
        matrix: H, as in :func:`minimise_nonnegative`.
        linear: b.
        iterations: Linear systems solved so far.
    """
    size = linear.shape[0]
    point = np.zeros(size)
    free = np.zeros(size, dtype=np.bool_)
    barred = np.zeros(size, dtype=np.bool_)
    scale = float(np.abs(linear).max())
    slope = -linear
    updated = False
    for _ in range(10 * size + 20):
        tolerance = 64.0 * EPSILON * (float(point.sum()) + scale)
        descent = np.where(free | barred, 0.0, -slope)
        enter = int(descent.argmax())
        if descent[enter] > tolerance:
            iterations += 1
            outcome = _enter(matrix, slope, point, free, enter)
            if outcome == "barred":
                barred[enter] = True
                continue
            updated = outcome == "entered"
            solved = 0 if updated else _settle(matrix, linear, point, free)
            iterations += solved
            # One that left at once entered by rounding; else the objective has fallen.
            barred[:] = False
            barred[enter] = not free[enter]
        elif updated:  # once more from scratch, without the rounding of the updates
            iterations += _settle(matrix, linear, point, free)
            updated = False
        else:
            break
        slope = matrix @ point - linear
    return NonnegativeMinimum(point, slope, free, iterations)


def _enter(
    matrix: Vector, slope: Vector, point: Vector, free: Mask, enter: int
) -> Literal["entered", "exchanged", "barred"]:
    """Make an index passive, starting from the minimum on the passive set.

    Args:
        matrix: H.
        slope: Gradient at the point.
        point: The point, moved in place.
        free: The passive set, changed in place.
        enter: The index, with a negative slope.

    Returns:
        ``"entered"``: the point is the minimum on the larger passive set. ``"exchanged"``:
        another index reached zero first and left. ``"barred"``: no other can leave although the
        objective falls without end, which only rounding can pretend.
    """
    (index,) = free.nonzero()
    image = np.zeros(0)
    curvature = float(matrix[enter, enter])
    if index.size:
        column = matrix[index, enter]
        _, image, info = dposv(matrix.take(index, 0).take(index, 1), column)
        if info:
            return "barred"
        curvature -= float(column @ image)
    step = -float(slope[enter]) / curvature if curvature > _DEPENDENT else np.inf
    current = point[index]
    ratios = np.where(image > 0.0, current / np.where(image > 0.0, image, 1.0), np.inf)
    nearest = float(ratios.min(initial=np.inf))
    if nearest == step == np.inf:
        return "barred"
    free[enter] = True
    if step < nearest:
        point[index] = current - step * image
        point[enter] = step
        return "entered"
    leave = int(ratios.argmin())
    current = np.maximum(current - nearest * image, 0.0)
    current[leave] = 0.0
    point[index] = current
    point[enter] = nearest
    free[index[leave]] = False
    return "exchanged"


def _settle(matrix: Vector, linear: Vector, point: Vector, free: Mask) -> int:
    """Move to the minimum on the passive set, dropping the indices that reach zero on the way.

    Returns:
        The number of linear systems solved.
    """
    solved = 0
    while free.any():
        solved += 1
        (index,) = free.nonzero()
        _, inner, info = dposv(matrix.take(index, 0).take(index, 1), linear.take(index))
        current = point[index]
        if info:  # dependent by rounding: do without the smallest
            smallest = index[int(current.argmin())]
            free[smallest] = False
            point[smallest] = 0.0
            continue
        negative = inner <= 0.0
        if not negative.any():
            point[index] = inner
            break
        falling = negative & (current > 0.0)
        reach = np.where(negative, 0.0, np.inf)
        reach[falling] = current[falling] / (current[falling] - inner[falling])
        step = float(reach.min())
        current = np.where(reach <= step, 0.0, current + step * (inner - current))
        point[index] = np.maximum(current, 0.0)
        free[index] = point[index] > 0.0
    return solved


def minimise_nonnegative_batch(matrix: Vector, origin: Vector) -> tuple[Vector, Vector, int]:
    """Minimise ``1/2 y'Hy - b'y`` over ``y >= 0`` for several ``b = -H u`` at once.

    Block exchanges as in :func:`minimise_nonnegative`, started where a few gradient steps lead;
    those and the checks are done for all problems together. Problems that need more than a few
    exchanges, or meet a singular block, are finished one by one; but where the problem of their
    sum has a ``v = u + y`` with ``Hv = 0``, its multiples solve them all.

    Args:
        matrix: H, as in :func:`minimise_nonnegative`, shape (K, K).
        origin: One u a row, shape (R, K).

    Returns:
        The minimisers and the gradients ``Hy - b``, each of shape (R, K), and the number of
        linear systems solved.
    """
    linear = -(origin @ matrix)
    count, size = linear.shape
    points = np.zeros((count, size))
    free = _promising(matrix, linear) if size > _FEW else linear > 0.0
    scale = np.abs(linear).max(axis=1)
    (rows,) = np.nonzero((linear > 0.0).any(axis=1))
    iterations = 0
    failed: list[int] = []
    for _ in range(_SWEEPS):
        for row, mask, right in zip(rows.tolist(), free[rows], linear[rows], strict=True):
            (index,) = mask.nonzero()
            point = np.zeros(size)
            if index.size:
                iterations += 1
                block = matrix.take(index, 0).take(index, 1)
                _, inner, info = dposv(block, right.take(index))
                if info:
                    failed.append(row)
                    continue
                point[index] = inner
            points[row] = point
        if failed:
            rows = np.setdiff1d(rows, failed)
        part = points[rows]
        masks = free[rows]
        slope = part @ matrix - linear[rows]
        tolerance = 64.0 * EPSILON * (np.abs(part).sum(axis=1) + scale[rows])[:, None]
        inside = (part < 0.0) | (np.abs(slope) > 1e3 * tolerance)
        wrong = np.where(masks, inside, slope < -tolerance)
        again = wrong.any(axis=1)
        free[rows] = masks ^ wrong
        rows = rows[again]
        if not rows.size:
            break
    waiting = [*failed, *rows.tolist()]
    if len(failed) > 1:
        parts = origin[waiting]
        together = (parts / np.abs(parts).max(axis=1, keepdims=True)).sum(axis=0)
        right = -(together @ matrix)
        solution = minimise_nonnegative(matrix, right, right > 0.0)
        iterations += solution.iterations
        total = together + solution.point
        if float(np.abs(solution.slope).max()) <= 64.0 * EPSILON * float(np.abs(total).sum()):
            waiting = [row for row in waiting if not _served(total, origin[row], points[row])]
    for row in waiting:
        solution = minimise_nonnegative(matrix, linear[row], linear[row] > 0.0)
        points[row] = solution.point
        iterations += solution.iterations
    return points, points @ matrix - linear, iterations


def _served(vanishing: Vector, origin: Vector, point: Vector) -> bool:
    """Solve a problem of a batch by a multiple of ``v >= 0`` with ``Hv = 0``, if that is sound.

    Args:
        vanishing: v, shape (K,).
        origin: The problem's u, shape (K,).
        point: Becomes ``y = factor v - u >= 0``, in place, shape (K,).

    Returns:
        Whether it does: where u is positive v must be, and not by rounding alone.
    """
    needed = origin > 0.0
    if not needed.any() or origin.min() < 0.0 or vanishing.min() < 0.0:
        return False
    if float(vanishing[needed].min()) <= _SHARED * float(vanishing.max()):
        return False
    factor = float((origin[needed] / vanishing[needed]).max())
    point[:] = np.maximum(factor * vanishing - origin, 0.0)
    return True


def _promising(matrix: Vector, linear: Vector) -> Mask:
    """Guess where the minimisers are positive, by a few accelerated projected gradient steps.

    A wrong guess costs time, nothing else; the step length is only about right for that reason.

    Args:
        matrix: H, shape (K, K).
        linear: One b a row, shape (R, K).
    """
    rate = 1.4 / float(np.abs(matrix).sum(axis=1).max())
    point = np.maximum(rate * linear, 0.0)
    ahead, momentum = point, 1.0
    for _ in range(_GUESSES):
        before = point
        point = ahead - rate * (ahead @ matrix - linear)
        np.maximum(point, 0.0, out=point)
        faster = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * momentum * momentum))
        ahead = point + (momentum - 1.0) / faster * (point - before)
        momentum = faster
    promising: Mask = point > 1e-3 * np.abs(linear).max(axis=1, keepdims=True)
    return promising
