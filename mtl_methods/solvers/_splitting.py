"""Splitting steps towards the minimiser of a quadratic over the nonnegative orthant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import dgemm
from scipy.linalg.lapack import dpotrf, dtrtri

from mtl_methods.solvers._gram import Vector

__all__ = ["PENALTY", "Splitting", "split", "split_in_turn"]

PENALTY = 0.2
"""First penalty where the curvature is unknown, for unit gradients that depend on each other."""

_CHANGE = 10.0
"""Largest factor between the penalties of two rounds; one that is reached has not settled."""

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


def split(
    matrix: Vector, linear: Vector, state: Vector | None, steps: int, penalty: float
) -> Splitting:
    """Take steps towards the minimisers of ``1/2 y'Hy - b'y`` over ``y >= 0``, one b a row.

    With the point ``max(h, 0)`` and the slope ``ρ max(-h, 0)`` packed in h, a step is
    ``h <- α (H + ρ)^-1 (b + ρ |h|) - α |h| / 2 + (1 - α / 2) h``: one product of all h with one
    matrix.

    Args:
        matrix: H, symmetric positive semidefinite up to rounding, shape (K, K).
        linear: b, shape (R, K).
        state: h of the last steps, shape (R, K), C-contiguous, overwritten; none at first.
        steps: Number of steps, at least 1.
        penalty: ρ.

    Source:
        P.-L. Lions and B. Mercier, "Splitting algorithms for the sum of two nonlinear
        operators", 1979, for the quadratic and the orthant.
    """
    return split_in_turn(matrix, linear, state, [(steps, penalty)])


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
    (steps, used), *others = parts
    state, last, used = _steps(matrix, linear, state, steps, used)
    for steps, penalty in others:
        # The slopes stay as they are, so h changes where it holds them.
        np.multiply(state, used / penalty, out=state, where=state < 0.0)
        state, last, used = _steps(matrix, linear, state, steps, penalty)
    points = np.maximum(state, 0.0)
    slopes = state - points
    state -= last
    last = np.maximum(last, 0.0, out=last)
    last -= points
    state += last  # of state and last, what is left are the changes of slopes and points
    moved, turned = (float(np.vdot(change, change)) for change in (last, state))
    ratio = math.sqrt(turned / moved) if moved > 0.0 and turned > 0.0 else 1.0
    change = min(max(ratio, 1.0 / _CHANGE), _CHANGE)
    slopes /= change
    slopes += points
    return Splitting(slopes, used * change, change == ratio)


def _steps(
    matrix: Vector, linear: Vector, state: Vector | None, steps: int, penalty: float
) -> tuple[Vector, Vector, float]:
    """Return the state after the steps, that before the last of them, and the penalty used.

    It is a larger one than asked for where H is further from semidefinite than was said.
    """
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
    constant = linear @ turn
    turn *= penalty
    turn.ravel()[:: matrix.shape[0] + 1] -= 0.5 * _RELAXATION
    if state is None:
        state = constant.copy()
    size_of = np.empty_like(state)
    columns, columns_of = state.T, size_of.T
    for step in range(steps):
        if step == steps - 1:
            last = state.copy()
        np.abs(state, out=size_of)
        dgemm(1.0, turn, columns_of, 1.0 - 0.5 * _RELAXATION, columns, 0, 0, 1)  # into state
        state += constant
    return state, last, penalty
