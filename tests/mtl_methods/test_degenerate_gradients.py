"""What the papers demand of an update still holds where gradients are degenerate.

The property tests ask every method for finite, consistent gradients there; these ask for the right
ones: on zero, rank-deficient, collinear, opposing and badly scaled task gradients.
"""

from __future__ import annotations

import numpy as np
import pytest
from adapters.helpers import gradient_step

from mtl_methods import make_method
from mtl_methods.solvers.cagrad import solve_cagrad
from mtl_methods.solvers.min_norm import solve_min_norm
from mtl_methods.testing.numeric_checks import DEGENERATE

_ROUNDING = 1e-9


def _cases():
    generator = np.random.default_rng(17)
    cases = {what: rows.numpy() for what, rows in DEGENERATE.items()}
    cases["more tasks than dimensions"] = generator.normal(size=(11, 4))
    cases["the same, agreeing"] = generator.normal((3.0, 0.0, 0.0, 0.0), size=(11, 4))
    cases["zero and opposing"] = np.array([[0.0, 0.0], [1.0, 2.0], [-2.0, -4.0]])
    cases["zero and conflicting"] = np.array([[0.0, 0.0], [4.0, 0.2], [-1.0, 0.2]])
    cases["two alike"] = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0], [-1.0, 2.0, 0.0]])
    cases["opposing to 1e-3"] = np.array([[1.0, 0.0], [-1.0, 1e-3]])
    return cases


CASES = _cases()
each_case = pytest.mark.parametrize("what", CASES)


def taken(name, what, **settings):
    """The method after its step, the gradients, their norms, the update and the weights."""
    rows = CASES[what]
    method = make_method(name, **settings)
    outcome = gradient_step(method, rows)
    weights = outcome.weights.numpy()
    return method, rows, np.linalg.norm(rows, axis=1), weights @ rows, weights


def unit(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0.0, norms, 1.0)


@each_case
@pytest.mark.parametrize("c", [0.0, 0.4, 0.9, 3.0])
def test_cagrad_is_optimal_in_its_ball(what, c):
    """``|d - g_0| <= c |g_0|``, and the dual objective bounds the worst rate from above."""
    method, rows, norms, update, _ = taken("cagrad", what, c=c)
    mean = rows.mean(0)
    radius = c * np.linalg.norm(mean)
    rounding = _ROUNDING * norms.max()
    # Within rounding of g_0 = 0 the ball itself is not known.
    if np.linalg.norm(mean) <= rounding:
        assert method.counters["pareto_stationary"] == 1
        assert np.linalg.norm(update) <= rounding
        return
    assert np.linalg.norm(update - mean) <= radius * (1 + 1e-8) + rounding
    w = solve_cagrad(rows @ rows.T, c).weights
    assert w.min() >= 0.0
    assert w.sum() == pytest.approx(1.0)
    bound = w @ rows @ mean + radius * np.linalg.norm(w @ rows)
    gaps = bound - rows @ update
    scale = norms * (1.0 + c) * np.linalg.norm(mean)
    assert (gaps <= 1e-7 * scale + 1e-7 * scale[norms > 0.0].min()).all()


@each_case
def test_mgda_is_the_shortest_combination(what):
    """``w`` on the simplex and ``g_k . d >= |d|^2`` for every task."""
    _, rows, norms, update, weights = taken("mgda", what)
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0)
    slack = rows @ update - update @ update
    assert (slack >= -_ROUNDING * (norms + weights @ norms) * (weights @ norms)).all()


@each_case
def test_edm_is_the_shortest_combination_of_unit_gradients(what):
    """The same of ``u_k``, whose coefficients are ``w_k |g_k|`` over their sum."""
    method, rows, norms, update, weights = taken("edm", what)
    if not norms.all():
        assert method.counters["pareto_stationary"] == 1
        assert not update.any()
        return
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0)
    shares = weights * norms / (weights @ norms)
    direction = shares @ unit(rows)
    slack = unit(rows) @ direction - direction @ direction
    assert slack.min() >= -_ROUNDING
    stationary = direction @ direction <= 1e-15
    assert ("pareto_stationary" in method.counters) == stationary


@each_case
@pytest.mark.parametrize(
    ("name", "settings", "p"),
    [
        ("nash_mtl", {}, 1.0),
        ("fairgrad", {"alpha": 0.5}, 2.0),
        ("fairgrad", {"alpha": 2.0}, 0.5),
        ("fairgrad", {"alpha": 10.0}, 0.1),
    ],
)
def test_alpha_fair_solves_its_equation_or_says_that_it_has_no_solution(what, name, settings, p):
    """``(G w)_k w_k^p = 1`` for tasks with a gradient, unless a combination of them vanishes."""
    method, rows, norms, _, weights = taken(name, what, **settings)
    present = norms > 0.0
    assert not weights[~present].any()
    if not present.any():
        return
    rows, weights = rows[present], weights[present]
    distance = solve_min_norm(unit(rows) @ unit(rows).T).norm
    if "pareto_stationary" in method.counters:
        assert distance < 1e-7
        assert not weights.any()
        return
    assert distance > 1e-9
    residual = np.abs((rows @ rows.T @ weights) * weights**p - 1.0).max()
    # Within 3e-4 of opposing each other, or with norms over twelve decades and p far from 1,
    # float64 cannot hold a better w: it is declared.
    if distance > 3e-4 and (norms[present].max() <= 1e6 * norms[present].min() or p == 1.0):
        assert residual < 1e-7
        assert "solver_tolerance" not in method.counters
    else:
        assert residual < 1e-3
        assert residual < 1e-7 or method.counters["solver_tolerance"] == 1


@each_case
def test_imtl_g_has_equal_projections(what):
    """``u_k . d`` is the same for all, where the gradients allow it; else in least squares."""
    method, rows, norms, update, weights = taken("imtl_g", what)
    present = norms > 0.0
    assert not weights[~present].any()
    if not present.any():
        return
    assert weights.sum() == pytest.approx(1.0)
    rows, norms, weights = rows[present], norms[present], weights[present]
    if "no_equal_projection" in method.counters:
        assert weights == pytest.approx(1.0 / len(weights))
        return
    ones = np.ones(len(rows))
    size = np.abs(weights) @ norms
    ideal = np.linalg.lstsq(unit(rows), ones, rcond=1e-10)[0]  # a vector that projects equally
    if np.abs(unit(rows) @ ideal - ones).max() < 1e-8:
        assert np.ptp(unit(rows) @ update) <= _ROUNDING * size
        return
    gram = rows @ rows.T / norms.max() ** 2
    reached, wanted = gram @ weights, norms / norms.max()
    part = wanted @ reached / (reached @ reached)
    assert np.abs(gram @ (part * reached - wanted)).max() < 1e-8 * len(rows)


@each_case
def test_upgrad_conflicts_with_no_task(what):
    """``g_k . d >= 0`` for every task, and each gradient is only ever added to."""
    _, rows, norms, update, weights = taken("upgrad", what)
    count = len(rows)
    assert weights.min() >= (1.0 - 1e-9) / count
    assert (rows @ update >= -_ROUNDING * norms * (weights @ norms)).all()
    if (rows @ rows.T >= 0.0).all():
        assert weights == pytest.approx(1.0 / count)
