"""Splitting steps towards the minimiser of a quadratic over the nonnegative orthant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import dgemm
from scipy.linalg.lapack import dpotrf, dtrtri

from mtl_methods.solvers._gram import Vector

__all__ = ["PENALTY", "Splitting", "Steps", "split", "split_in_turn"]

PENALTY = 0.2
"""First penalty where the curvature is unknown, for unit gradients that depend on each other."""

_CHANGE = 10.0
"""Largest factor between the penalties of two rounds; one that is reached has not settled."""

_LOOK = 8
"""Steps after which their change is looked at."""

_RELAXATION = 1.8
"""Relaxation of the steps; 1 is none, 2 is the Peaceman-Rachford splitting."""


class Splitting(NamedTuple):
    """Where steps lead to.

    Attributes:
        state: h, for the next steps with the next penalty, shape (R, K). The points are
            ``max(h, 0)``, near the minimisers; the supports are ``h > 0``.
        penalty: The penalty ρ for the next steps: the curvature that the last step met, the
            change of the slopes over that of the points.
        settled: Whether that is within a factor of 10 of the penalty of the steps.
    """

    state: Vector
    penalty: float
    settled: bool


class Steps:
    """The steps of one matrix, right sides and penalty, see :func:`split`.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, shape (K, K).
        linear: b, shape (R, K).
        penalty: ρ asked for; a larger one is used where H is further from semidefinite than was
            said.

    Attributes:
        penalty: ρ used.
    """

    def __init__(self, matrix: Vector, linear: Vector, penalty: float) -> None:
        system = matrix.copy()
        diagonal = system.ravel()[:: matrix.shape[0] + 1]
        diagonal += penalty
        factor, info = dpotrf(system.T, 1)
        while info:
            diagonal += 9.0 * penalty
            penalty *= 10.0
            factor, info = dpotrf(system.T, 1)
        root, _ = dtrtri(factor, 1)
        turn = (_RELAXATION * root.T) @ root
        self._constant: Vector = linear @ turn
        turn *= penalty
        turn.ravel()[:: matrix.shape[0] + 1] -= 0.5 * _RELAXATION
        self._turn: Vector = turn.T  # BLAS copies matrices in C's order; this one is symmetric
        self._last = self._constant
        self.penalty = penalty

    def take(self, state: Vector | None, count: int) -> Vector:
        """Return the state after a number of steps.

        Args:
            state: h, shape (R, K), C-contiguous, overwritten; none for the first steps.
            count: Number of steps, at least 1.
        """
        constant, turn = self._constant, self._turn
        if state is None:
            state = constant.copy()
        size_of = np.empty_like(state)
        columns, columns_of = state.T, size_of.T
        for step in range(count):
            if step == count - 1:
                self._last = state.copy()
            np.abs(state, out=size_of)
            dgemm(1.0, turn, columns_of, 1.0 - 0.5 * _RELAXATION, columns, 0, 0, 1)  # into state
            state += constant
        return state

    def settle(self, state: Vector, most: int, change: float) -> tuple[Vector, bool]:
        """Return the state after steps until they change it by less than this, and if they do.

        Args:
            state: h, as for :meth:`take`.
            most: Largest number of steps, a multiple of 8.
            change: Norm of the change of h in a step relative to that of h, looked at after every
                8 steps.
        """
        for _ in range(0, most, _LOOK):
            state = self.take(state, _LOOK)
            moved = state - self._last
            if np.vdot(moved, moved) <= change * change * np.vdot(state, state):
                return state, True
        return state, False

    def fit(self, state: Vector) -> Splitting:
        """Return where the steps led to, with the penalty for the next ones.

        Args:
            state: What :meth:`take` or :meth:`settle` returned last, overwritten, as is what these
                steps remember: none may be taken after it.
        """
        last = self._last
        points = np.maximum(state, 0.0)
        slopes = state - points
        state -= last
        last = np.maximum(last, 0.0, out=last)
        last -= points
        state += last  # of state and last, what is left are the changes of slopes and points
        moved, turned = (float(np.vdot(part, part)) for part in (last, state))
        ratio = math.sqrt(turned / moved) if moved > 0.0 and turned > 0.0 else 1.0
        factor = min(max(ratio, 1.0 / _CHANGE), _CHANGE)
        slopes /= factor
        slopes += points
        return Splitting(slopes, self.penalty * factor, factor == ratio)


def split(
    matrix: Vector, linear: Vector, state: Vector | None, count: int, penalty: float
) -> Splitting:
    """Take steps towards the minimisers of ``1/2 y'Hy - b'y`` over ``y >= 0``, one b a row.

    With the point ``max(h, 0)`` and the slope ``ρ max(-h, 0)`` packed in h, a step is
    ``h <- α (H + ρ)^-1 (b + ρ |h|) - α |h| / 2 + (1 - α / 2) h``: one product of all h with one
    matrix.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, shape (K, K).
        linear: b, shape (R, K).
        state: h of the last steps, shape (R, K), C-contiguous, overwritten; none at first.
        count: Number of steps, at least 1.
        penalty: ρ.

    Source:
        P.-L. Lions and B. Mercier, "Splitting algorithms for the sum of two nonlinear
        operators", 1979, for the quadratic and the orthant.
    """
    steps = Steps(matrix, linear, penalty)
    return steps.fit(steps.take(state, count))


def split_in_turn(
    matrix: Vector, linear: Vector, state: Vector | None, parts: Sequence[tuple[int, float]]
) -> Splitting:
    """Take steps as :func:`split` does, with one penalty after the other.

    Args:
        matrix: H.
        linear: b.
        state: h for the first penalty, overwritten; none at first.
        parts: Number of steps, at least 1, and their penalty ρ; one pair or more.

    Returns:
        Where the last part leads to, and the curvature that its last step met.
    """
    (count, penalty), *others = parts
    steps = Steps(matrix, linear, penalty)
    state = steps.take(state, count)
    for count, penalty in others:
        used, steps = steps.penalty, Steps(matrix, linear, penalty)
        # The slopes stay as they are, so h changes where it holds them.
        np.multiply(state, used / steps.penalty, out=state, where=state < 0.0)
        state = steps.take(state, count)
    return steps.fit(state)
