"""Other ways of solving the solvers' problems, written from their descriptions."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, least_squares, minimize
from solver_measures import RADIUS, Array

__all__ = [
    "alpha_fair_by_cvxpy",
    "by_frank_wolfe",
    "by_least_squares",
    "by_slsqp",
    "by_torchjd",
    "cagrad_by_cvxpy",
    "nash_by_cvxpy",
    "upgrad_by_quadprog",
]


def by_least_squares(gram: Array, p: float) -> Array:
    k = len(gram)

    def missing(x: Array) -> Array:
        difference: Array = gram @ x - x**-p
        return difference

    found = least_squares(missing, x0=np.full(k, 1.0 / k), bounds=(0.0, np.inf))
    weights: Array = found.x
    return weights


def by_frank_wolfe(gram: Array, steps: int = 250) -> Array:
    """MGDA's usual solver: steps towards the task of least inner product, exact line search."""
    weights = np.full(len(gram), 1.0 / len(gram))
    for _ in range(steps):
        products = gram @ weights
        task = int(products.argmin())
        squared = float(weights @ products)
        span = squared - 2.0 * products[task] + gram[task, task]
        if span <= 0.0:
            break
        step = min(max((squared - products[task]) / span, 0.0), 1.0)
        if step < 1e-6:
            break
        weights *= 1.0 - step
        weights[task] += step
    return weights


def by_slsqp(gram: Array) -> Array:
    """CAGrad's usual solver."""
    k = len(gram)
    inner = gram.mean(axis=1)
    radius = RADIUS * np.sqrt(inner.mean() + 1e-8)

    def cost(w: Array) -> float:
        return float(w @ inner + radius * np.sqrt(w @ gram @ w + 1e-8))

    found = minimize(
        cost,
        np.full(k, 1.0 / k),
        method="SLSQP",
        bounds=Bounds(np.zeros(k), np.ones(k)),
        constraints=LinearConstraint(np.ones((1, k)), 1.0, 1.0),
    )
    weights: Array = found.x
    return weights


class _Sequence:
    """Nash-MTL's convex problems for K tasks, built once as its published code does.

    ``min Σ_i (H w)_i + φ'(w_last)(w - w_last) / ||G||`` subject to
    ``log(||G|| w_i) + log((H w)_i) >= 0`` for every task, with ``H = G / ||G||`` and
    ``φ = Σ_i log w_i + log (H w)_i``.
    """

    def __init__(self, k: int) -> None:
        cvxpy = importlib.import_module("cvxpy")
        self.failure = cvxpy.error.SolverError
        self.weights = cvxpy.Variable(k, nonneg=True)
        self.last = cvxpy.Parameter(k, value=np.ones(k))
        self.gram = cvxpy.Parameter((k, k), value=np.eye(k))
        self.size = cvxpy.Parameter(1, value=np.ones(1))
        products = self.gram @ self.weights
        slope = 1.0 / self.last + (1.0 / (self.gram @ self.last)) @ self.gram
        self.problem = cvxpy.Problem(
            cvxpy.Minimize(cvxpy.sum(products) + slope @ (self.weights - self.last) / self.size),
            [
                -cvxpy.log(self.weights[task] * self.size) - cvxpy.log(products[task]) <= 0.0
                for task in range(k)
            ],
        )


_sequence = functools.cache(_Sequence)


def nash_by_cvxpy(gram: Array, steps: int = 20) -> Array:
    """Nash-MTL's usual solver: a sequence of convex problems around the last weights.

    With the stopping rules and the 20 problems of the published code, from weights of 1 as in its
    first step. That names ECOS as the solver; here it is cvxpy's own choice.
    """
    sequence = _sequence(len(gram))
    size = np.linalg.norm(gram)
    scaled = gram / size
    sequence.gram.value, sequence.size.value = scaled, np.array([size])
    weights: Array = np.ones(len(gram))
    for _ in range(steps):
        sequence.weights.value = sequence.last.value = weights
        try:
            sequence.problem.solve(warm_start=True)
        except sequence.failure:
            break
        found = sequence.weights.value
        if found is None:
            break
        if (
            np.linalg.norm(scaled @ weights - 1.0 / (weights + 1e-10)) < 1e-3
            or np.linalg.norm(found - weights) < 1e-6
        ):
            break
        weights = found
    return weights


def root_of(gram: Array) -> Array:
    """R with ``R'R = G``."""
    values, vectors = np.linalg.eigh(gram)
    factor: Array = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    return factor


def alpha_fair_by_cvxpy(gram: Array, p: float) -> Array:
    """One convex problem: the α-fair equation is its condition of stationarity.

    ``min 1/2 w'G w - Σ w_i^(1-p) / (1-p)``, with the logarithm for p = 1, on the matrix of the
    unit gradients' cosines and with weights in its unit: ``w_i = v_i t / ||g_i||`` turns the
    second term into one with coefficients, ``t^(1+p)`` their mean.
    """
    cvxpy = importlib.import_module("cvxpy")
    lengths = np.sqrt(gram.diagonal())
    shares = lengths ** (p - 1.0)
    mean = float(shares.mean())
    unit = cvxpy.Variable(len(gram), nonneg=True)
    term = cvxpy.log(unit) if p == 1.0 else cvxpy.power(unit, 1.0 - p) / (1.0 - p)
    energy = 0.5 * cvxpy.sum_squares(root_of(gram / np.outer(lengths, lengths)) @ unit)
    try:
        cvxpy.Problem(cvxpy.Minimize(energy - (shares / mean) @ term)).solve()
    except cvxpy.error.SolverError:
        return np.zeros(len(gram))
    if unit.value is None:
        return np.zeros(len(gram))
    found: Array = unit.value * mean ** (1.0 / (1.0 + p)) / lengths
    return found


def cagrad_by_cvxpy(gram: Array) -> Array:
    cvxpy = importlib.import_module("cvxpy")
    k = len(gram)
    factor = root_of(gram / np.trace(gram))
    mean = factor.mean(axis=1)
    weights = cvxpy.Variable(k, nonneg=True)
    combined = factor @ weights
    cost = mean @ combined + RADIUS * np.linalg.norm(mean) * cvxpy.norm(combined, 2)
    cvxpy.Problem(cvxpy.Minimize(cost), [cvxpy.sum(weights) == 1.0]).solve()
    if weights.value is None:
        return np.full(k, 1.0 / k)
    found: Array = np.maximum(weights.value, 0.0)
    return found


def upgrad_by_quadprog(gram: Array) -> Array:
    """One quadratic program a task, on the Gram matrix over its trace plus 1e-4 (else singular)."""
    quadprog = importlib.import_module("quadprog")
    k = len(gram)
    regular = gram / np.trace(gram) + 1e-4 * np.eye(k)
    identity, nothing = np.eye(k), np.zeros(k)
    rows = [quadprog.solve_qp(regular, nothing, identity, row)[0] for row in identity]
    return np.array(rows)


def by_torchjd(name: str, **settings: Any) -> Callable[[Array], Array]:
    """A weighting of torchjd; CAGrad's is turned back into its w, from 1/K + λ w."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    weighting = getattr(importlib.import_module("torchjd.aggregation"), name)(**settings)

    def solve(gram: Array) -> Array:
        weights: Array = weighting(torch.from_numpy(gram)).numpy()
        if name == "CAGradWeighting":
            weights = weights - 1.0 / len(gram)
        return weights

    return solve
