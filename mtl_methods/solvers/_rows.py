"""Nonnegative quadratic problems with one matrix: the unfinished ones, and how to finish them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mtl_methods.solvers._gram import Vector
from mtl_methods.solvers._nonnegative import Mask, active_set

__all__ = ["REST", "ROUNDED", "Rows", "SolveSupports", "exchange_supports", "finish"]

REST = 2
"""Unfinished problems that are not worth more steps."""

ROUNDED = 1e-13
"""Slope that counts as zero, relative to ``Σ|v_j|``."""

_EXCHANGES = 8
"""Largest number of solves on supports after a round of steps."""

SolveSupports: TypeAlias = Callable[[Vector, Mask], Vector]
"""From right sides and supports, both of shape (r, K), to the solutions of the systems on them."""


@dataclass
class Rows:
    """The unfinished problems, and the minimisers of the others.

    Attributes:
        numbers: Which problems they are, shape (r,).
        linear: Their b, shape (r, K).
        sizes: ``Σ |u_j|``, shape (r,).
        state: The splitting's state h, shape (r, K).
        points: Feasible points near the minimisers, shape (r, K).
        free: Supports to try, shape (r, K), bool.
        found: Where minimisers are put, of all problems, shape (R, K).
    """

    numbers: NDArray[np.intp]
    linear: Vector
    sizes: Vector
    state: Vector
    points: Vector
    free: Mask
    found: Vector

    def keep(self, left: NDArray[np.intp]) -> None:
        """Drops the problems but these; their supports are set anew."""
        self.numbers, self.linear = self.numbers[left], self.linear[left]
        self.sizes, self.state = self.sizes[left], self.state[left]
        self.points = self.points[left]


def exchange_supports(matrix: Vector, solve: SolveSupports, rows: Rows, *, last: bool) -> int:
    """Try supports until all problems are solved, or too few at a time; return the solves.

    Args:
        matrix: H.
        solve: See there.
        rows: The unfinished problems; those that are solved leave it.
        last: Whether no more steps follow, so that slow exchanges are better than none.
    """
    solved = 0
    for exchange in range(_EXCHANGES):
        before = rows.numbers.size
        solved += before
        _try_supports(matrix, solve, rows)
        left = rows.numbers.size
        slow = not last and 2 * left > before and left > REST
        stuck = left == before and (exchange > 1 or not last)
        if not left or slow or stuck:
            break
    return solved


def finish(matrix: Vector, rows: Rows) -> int:
    """Solve each unfinished problem by itself from its point; return the systems solved."""
    solved = 0
    for position, row in enumerate(rows.numbers.tolist()):
        minimum = active_set(
            matrix,
            rows.linear[position],
            rows.points[position],
            limit=ROUNDED,
            scale=float(rows.sizes[position]),
        )
        rows.found[row] = minimum.point
        solved += minimum.iterations
    return solved


def _try_supports(matrix: Vector, solve: SolveSupports, rows: Rows) -> None:
    """Minimise on the supports and drop the problems that this solves.

    The others exchange every index that violates its sign condition for the next time.
    """
    free = rows.free
    points = rows.points * free
    right = rows.linear - points @ matrix
    target = points + solve(right, free)
    slope = target @ matrix
    slope -= rows.linear
    bound = np.abs(target).sum(axis=1)
    bound += rows.sizes
    bound *= ROUNDED
    wrong = np.abs(slope) > bound[:, None]
    wrong &= free | (slope < 0.0)
    wrong |= target < 0.0
    rows.found[rows.numbers] = target
    (left,) = wrong.any(axis=1).nonzero()
    if not left.size:
        rows.numbers = left
        return
    if left.size < target.shape[0]:
        rows.keep(left)
        target, wrong, free = target[left], wrong[left], free[left]
    # Those whose sign is wrong change sides; a slope on the support is a matter of rounding.
    rows.free = np.where(free, target > 0.0, wrong)
    stays = (target >= 0.0).all(axis=1)
    rows.points[stays] = target[stays]
