"""Inputs of the solver benchmark, its clock, and measures of how well a problem is solved."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "RADIUS",
    "Array",
    "alpha_fair_residual",
    "cagrad_gap",
    "cone_violation",
    "grams",
    "milliseconds",
    "min_norm_gap",
]

RADIUS = 0.4

Array = np.ndarray[Any, np.dtype[np.float64]]


def grams(k: int, unequal: bool, count: int) -> list[Array]:
    rng = np.random.default_rng([k, unequal])
    matrices = []
    for _ in range(count):
        rows = rng.normal(size=(k, 2 * k + 4))
        if unequal:
            rows *= 10.0 ** rng.uniform(-3.0, 3.0, size=(k, 1))
        matrices.append(rows @ rows.T)
    return matrices


def milliseconds(action: Callable[[], Any], repetitions: int) -> tuple[float, Any]:
    """Median processor time of the action and what it returned last; slow actions run less."""
    times, result = [], None
    for _ in range(repetitions):
        begin = time.thread_time()
        result = action()
        times.append(time.thread_time() - begin)
        if sum(times) > 0.5:
            break
    return 1e3 * statistics.median(times), result


def alpha_fair_residual(gram: Array, weights: Array, p: float) -> float:
    """``max_i |(G w)_i w_i^p - 1|``."""
    if not (weights > 0.0).all():
        return float("inf")
    return float(np.max(np.abs((gram @ weights) * weights**p - 1.0)))


def min_norm_gap(gram: Array, weights: Array) -> float:
    """``(||d||² - min_i g_i'd) / ||d||²``, which bounds how far ||d|| is above the minimum."""
    products = gram @ (weights / weights.sum())
    squared = float(weights @ products / weights.sum())
    return max(squared - float(products.min()), 0.0) / squared


def cagrad_gap(gram: Array, weights: Array) -> float:
    """``g_w'd - min_i g_i'd`` for the update d of these weights, over ``||g_w|| ||d||``.

    By duality it bounds how far the dual objective is above the minimum.
    """
    w = weights / weights.sum()
    k = len(gram)
    length = float(np.sqrt(max(w @ gram @ w, 1e-300)))
    radius = RADIUS * float(np.sqrt(gram.mean()))
    update = 1.0 / k + radius / length * w
    products = gram @ update
    gap = float(w @ products) - float(products.min())
    return max(gap, 0.0) / (length * float(np.sqrt(update @ products)))


def cone_violation(gram: Array, weights: Array) -> float:
    """Conflict ``-min_i (G v)_i`` relative to ``||g_i|| Σ_j v_j ||g_j||``."""
    lengths = np.sqrt(gram.diagonal())
    rows = np.atleast_2d(weights)
    return max(float(np.max(-(rows @ gram) / (lengths * (rows @ lengths)[:, None]))), 0.0)
