"""Levels and supports at which the conditions of CAGrad's dual problem hold."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl_methods.solvers._gram import EPSILON, Vector, solve_definite
from mtl_methods.solvers._nonnegative import (
    active_set,
    limit_of,
    minimise_nonnegative,
    regularised,
)
from mtl_methods.solvers._splitting import PENALTY, split

__all__ = ["EXCHANGES", "Level", "LevelProblem", "by_bracket", "by_exchange", "by_steps"]

EXCHANGES = 25
"""Block exchanges before steps take over."""

_STEPS = (16, 16, 24, 32)
"""Splitting steps between which supports are tried."""

_TRIES = 8
"""Exchanges on the supports that they lead to."""

_ROOM = 1e-9
"""Rounding of the bounds of the level, relative to their distance."""

_PROXIMITY = 1e-12
"""Weight of the distance to the last point where a support is solved."""

_TINY = 1e-300
"""Smallest squared length."""

_LEVELLED = 1e-13
"""Relative accuracy of the correction and of its length at a level."""

_BRACKETS = 200
"""Largest number of levels the bracketed search tries."""


class LevelProblem(NamedTuple):
    """The problem in units of ``||g_0||`` and of unit gradients.

    Attributes:
        cosines: Gram matrix C of the unit gradients (those that are not zero), shape (K, K).
        slopes: ``ĝ_i'g_0 / ||g_0||``, shape (K,).
        shares: Length of the shortest gradient over those of all, shape (K,).
        radius: Length of the correction, c.
        missing: Whether there are zero gradients besides.
    """

    cosines: Vector
    slopes: Vector
    shares: Vector
    radius: float
    missing: bool


class Level(NamedTuple):
    """A solution of the conditions.

    Attributes:
        y: Coefficients of the correction, shape (K,).
        level: μ.
        length: ``||Σ y_i ĝ_i||``.
        objective: The dual objective of ``w ∝ y shares``.
        gap: The residual of :class:`CAGradSolution`.
        iterations: Linear systems solved.
    """

    y: Vector
    level: float
    length: float
    objective: float
    gap: float
    iterations: int


def by_exchange(problem: LevelProblem) -> Level | None:
    """Exchange supports in blocks until all signs are right, or return nothing."""
    cosines, slopes, shares, _, _ = problem
    size = slopes.shape[0]
    passive = np.ones(size, dtype=np.bool_)
    for iteration in range(1, EXCHANGES + 1):
        (index,) = passive.nonzero()
        piece = _piece(problem, index) if index.size else None
        if piece is None:
            return None
        level, inner = piece
        y = np.zeros(size)
        y[index] = inner
        slack = cosines @ y + slopes - level * shares
        tolerance = 64.0 * EPSILON * (float(np.abs(inner).sum()) + 1.0 + abs(level))
        wrong = np.where(passive, y < 0.0, slack < -tolerance)
        if not wrong.any():
            return _evaluated(problem, y, level, iteration)
        passive = passive ^ wrong
    return None


def by_steps(problem: LevelProblem, precision: float) -> Level | None:
    """Find the support by splitting steps, exchanges and the level between them, or nothing.

    At a level the conditions are a quadratic program over the orthant, whose support a few steps
    show. On that support the level follows from the length, and exchanges correct both. Where no
    level fits, more steps follow. The level is at least that of the worst task and at most the
    dual objective of any weights.

    Args:
        problem: The problem.
        precision: Accuracy of the cosines.
    """
    _, slopes, shares, radius, _ = problem
    cosines = regularised(problem.cosines, precision)
    regular = problem._replace(cosines=cosines)
    limit = max(_LEVELLED, limit_of(precision))
    least = float((slopes / shares).min())
    most = float(((slopes + radius * np.sqrt(cosines.diagonal())) / shares).min())
    room = _ROOM * (most - least)
    level, penalty, iterations = min(0.0, most), PENALTY, 0
    state: Vector | None = None
    for steps in _STEPS:
        linear = level * shares - slopes
        state, penalty, _ = split(cosines, linear[None], state, steps, penalty)
        y = np.maximum(state[0], 0.0)
        free = y > 0.0
        if not free.any():
            level = most
            continue
        length = math.sqrt(max(float(y @ (cosines @ y)), 0.0))
        most = min(most, (float(slopes @ y) + radius * length) / float(shares @ y))
        fewest = slopes.size
        for _ in range(_TRIES):
            (index,) = free.nonzero()
            if not index.size:
                break
            y[~free] = 0.0
            moved = _moved(regular, y, level * shares - slopes - cosines @ y, index)
            iterations += 1
            if moved is None or not least - room <= level + moved[0] <= most + room:
                level = min(level, most)
                break
            level += moved[0]
            y = np.zeros_like(y)
            y[index] = moved[1]
            linear = level * shares - slopes
            slack = cosines @ y - linear
            tolerance = limit * (float(np.abs(y).sum()) + float(np.abs(linear).max()))
            wrong = np.where(free, (y < 0.0) | (slack > tolerance), False)
            wrong |= slack < -tolerance
            count = int(np.count_nonzero(wrong))
            if not count:
                return _evaluated(problem, y, level, iterations)
            if count >= fewest:
                break
            fewest = count
            free = np.where(free, y > 0.0, slack < -tolerance)
            y = np.maximum(y, 0.0)
    return None


def by_bracket(
    problem: LevelProblem,
    ceiling: float,
    start: Vector,
    precision: float,
    *,
    exact: bool,
    known: float | None = None,
) -> Level:
    """Find the level by bracketing, where exchanging supports cycled or met a dependent one.

    From the minimiser at one level, the next one is where ``||Σ y_i g_i||`` reaches its value if
    the support stays. Once it does, that is the solution.

    Args:
        problem: The problem.
        ceiling: An upper bound of the level.
        start: A point near the correction, from which the first level is solved, shape (K,).
        precision: Accuracy of the cosines.
        exact: Whether to solve as far as float64 goes, with the matrix as it is: norms spread
            over many decades need it.
        known: The level that ``start`` solves, if any.
    """
    _, slopes, shares, radius, _ = problem
    cosines = problem.cosines if exact else regularised(problem.cosines, precision)
    regular = problem._replace(cosines=cosines)
    limit = limit_of(EPSILON) if exact else max(_LEVELLED, limit_of(precision))
    close = 4.0 * EPSILON if exact else limit
    low = float((slopes / shares).min())
    high = min(float(((slopes + radius) / shares).min()), ceiling)
    y, candidate, iterations = start, high, 0
    if known is not None:
        candidate = known
    elif start.any():
        piece = _piece(regular, start.nonzero()[0])
        if piece is not None and low < piece[0] < high:
            candidate = piece[0]
    for number in range(_BRACKETS):
        linear = candidate * shares - slopes
        scale = float(np.abs(linear).max())
        if number or known is None or exact:
            if exact:
                minimum = minimise_nonnegative(cosines, linear, y > 0.0, point=y)
            else:
                minimum = active_set(cosines, linear, y, limit=limit, scale=scale)
            iterations += minimum.iterations
            y = minimum.point
        level = candidate
        products = cosines @ y
        squared = float(y @ products)
        length = math.sqrt(max(squared, 0.0))
        if abs(length - radius) <= close * radius:
            break
        if length <= radius:
            low = candidate
        else:
            high = candidate
        middle = 0.5 * (low + high)
        if not low < middle < high or (not exact and high - low < 0.01 * limit * scale):
            break
        candidate = middle
        (index,) = y.nonzero()
        moved = _moved(regular, y, linear - products, index) if index.size else None
        if moved is None or not low < level + moved[0] < high:
            continue
        candidate = level + moved[0]
        inner = moved[1]
        iterations += 1
        following = np.zeros_like(y)
        following[index] = inner
        slack = cosines @ following + slopes - candidate * shares
        tolerance = limit * (
            float(np.abs(inner).sum()) + float(np.abs(candidate * shares - slopes).max())
        )
        slack[index] = -np.abs(slack[index])
        if inner.min() >= 0.0 and slack.min() >= -tolerance:
            y, level = following, candidate
            break
        y = np.maximum(following, 0.0)
    return _evaluated(problem, y, level, iterations)


def _evaluated(problem: LevelProblem, y: Vector, level: float, iterations: int) -> Level:
    """Return the solution with its duality gap."""
    cosines, slopes, shares, radius, missing = problem
    if float(y.sum()) < 0.5 * radius:
        # c is so small that y is lost in the rounding of μ; the steepest need takes it all.
        y = np.zeros_like(y)
        y[int((slopes / shares).argmin())] = radius
    products = cosines @ y
    length = math.sqrt(max(float(y @ products), _TINY))
    objective = (float(slopes @ y) + radius * length) / float(shares @ y)
    attained = slopes + products * (radius / length)
    gap = float((objective * shares - attained).max())
    if missing:
        gap = max(gap, objective)
    return Level(y, level, length, objective, max(gap, 0.0) / (1.0 + radius), iterations)


def _piece(problem: LevelProblem, index: NDArray[np.intp]) -> tuple[float, Vector] | None:
    """Solve the conditions on one support.

    There ``y = μ a - h`` with ``C a = shares``, ``C h = slopes``, and ``y'C y = radius²`` is
    quadratic in μ; its larger root is wanted.

    Args:
        problem: The problem.
        index: The support, shape (n,).

    Returns:
        μ and y on the support, or nothing if the support is dependent. Where the quadratic has
        no root, μ is its minimiser.
    """
    right = np.empty((2, index.size))
    right[0] = problem.shares.take(index)
    right[1] = problem.slopes.take(index)
    solved, info = solve_definite(problem.cosines.take(index, 0).take(index, 1), right.T)
    if info:
        return None
    products = right @ solved
    square, cross, constant = float(products[0, 0]), float(products[0, 1]), float(products[1, 1])
    if not square > 0.0:
        return None
    discriminant = cross * cross - square * (constant - problem.radius * problem.radius)
    level = (cross + math.sqrt(max(discriminant, 0.0))) / square
    return level, level * solved[:, 0] - solved[:, 1]


def _moved(
    problem: LevelProblem, y: Vector, rest: Vector, index: NDArray[np.intp]
) -> tuple[float, Vector] | None:
    """The change of the level at which the correction is as long as it must be, and y there.

    On the support ``y(μ + t) = y + d + t a`` with ``C d`` what is left of the conditions at y and
    ``C a = shares``. Where the support is dependent these are a proximal step's.
    """
    block = problem.cosines.take(index, 0).take(index, 1)
    right = np.empty((2, index.size))
    right[0] = problem.shares.take(index)
    right[1] = rest.take(index)
    system = block.copy()
    system.ravel()[:: index.size + 1] += _PROXIMITY
    solved, info = solve_definite(system, right.T)
    if info:
        return None
    slope = solved[:, 0]
    inner = y.take(index) + solved[:, 1]
    products = block @ slope
    square, cross = float(slope @ products), float(inner @ products)
    missing = problem.radius * problem.radius - float(inner @ block @ inner)
    discriminant = cross * cross + square * missing
    if not square > 0.0:
        return None
    # The larger root, without cancellation.
    root = math.sqrt(max(discriminant, 0.0))
    change = missing / (cross + root) if cross > 0.0 else (root - cross) / square
    return change, inner + change * slope
