import math

import numpy as np
import pytest
from gradient_cases import REGIMES, drawn_gradients, gradients, gram_of, minimum_over_supports
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import gradients_of, load_cases

from mtl_methods.errors import ConfigurationError, SolverError
from mtl_methods.solvers.min_norm import solve_min_norm


def quick(examples):
    return settings(max_examples=examples, derandomize=True, deadline=None)


def worst_violation(rows, weights):
    """The violation of ``g_i'd >= ||d||²``, relative to what rounding can cause."""
    d = weights @ rows
    lengths = np.linalg.norm(rows, axis=1)
    scale = lengths * max(weights @ lengths, np.finfo(float).tiny)
    return np.max((d @ d - rows @ d) / np.where(scale > 0.0, scale, 1.0))


@given(drawn_gradients(REGIMES, largest=20))
@quick(300)
def test_optimality_conditions(rows):
    solution = solve_min_norm(gram_of(rows))
    assert solution.status == "converged"
    assert solution.residual <= 1e-12
    assert solution.weights.min() >= 0.0
    assert solution.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert worst_violation(rows, solution.weights) <= 1e-10


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("decades", [0.0, 3.0, 8.0])
def test_forty_tasks(regime, decades):
    rows = gradients(regime, 40, seed=3, decades=decades)
    solution = solve_min_norm(gram_of(rows))
    assert solution.status == "converged"
    assert worst_violation(rows, solution.weights) <= 1e-10


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 10_000))
@quick(150)
def test_against_all_supports(k, m, seed):
    rows = np.random.default_rng([k, m, seed]).integers(-3, 4, size=(k, m)).astype(np.float64)
    solution = solve_min_norm(gram_of(rows))
    assert solution.norm**2 == pytest.approx(minimum_over_supports(gram_of(rows)), abs=1e-9)
    assert np.linalg.norm(solution.weights @ rows) == pytest.approx(solution.norm, abs=1e-7)


@given(drawn_gradients(REGIMES), st.sampled_from((1e-6, 1e-3, 1e3, 1e6)))
@quick(60)
def test_scale(rows, scale):
    plain, scaled = solve_min_norm(gram_of(rows)), solve_min_norm(gram_of(scale * rows))
    bound = 1e-7 * np.linalg.norm(rows, axis=1).max()
    assert scaled.norm == pytest.approx(scale * plain.norm, rel=1e-6, abs=scale * bound)


@given(drawn_gradients(("generic", "conflict", "wide")))
@quick(60)
def test_order_of_the_tasks(rows):
    order = np.random.default_rng(len(rows)).permutation(len(rows))
    weights = solve_min_norm(gram_of(rows)).weights
    permuted = solve_min_norm(gram_of(rows[order])).weights
    np.testing.assert_allclose(permuted, weights[order], atol=1e-9)


def test_two_tasks():
    rows = np.array([[2.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(solve_min_norm(gram_of(rows)).weights, [0.2, 0.8])
    dominated = np.array([[2.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(solve_min_norm(gram_of(dominated)).weights, [0.0, 1.0])


def test_zero_gradient_takes_all():
    rows = gradients("generic", 4, seed=0)
    rows[1] = 0.0
    solution = solve_min_norm(gram_of(rows))
    np.testing.assert_array_equal(solution.weights, [0.0, 1.0, 0.0, 0.0])
    assert solution.norm == solution.relative_norm == 0.0


def test_one_task():
    solution = solve_min_norm([[9.0]])
    assert solution.norm == 3.0
    np.testing.assert_array_equal(solution.weights, [1.0])


@pytest.mark.parametrize("k", [2, 5, 40])
def test_opposing_gradients_have_norm_zero(k):
    rows = gradients("generic", k, seed=1, decades=3.0)
    rows[-1] = -0.1 * rows[0]
    solution = solve_min_norm(gram_of(rows))
    assert solution.relative_norm <= 1e-7
    assert np.linalg.norm(solution.weights @ rows) <= 1e-7 * (
        solution.weights @ np.linalg.norm(rows, axis=1)
    )


def plain_cases():
    """The cases whose hull is that of the given gradients, or of the unit gradients."""
    return [
        case
        for case in load_cases("MGDA")
        if case["variant"] != "LibMTL" or case["params"]["mgda_gn"] in ("none", "l2")
    ]


@pytest.mark.parametrize("case", plain_cases(), ids=lambda case: case["id"])
def test_reference(case):
    rows, expected = gradients_of(case), case["expected"]
    if case["params"].get("mgda_gn") == "l2":
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(lengths > 0.0, lengths, 1.0)
    solution = solve_min_norm(gram_of(rows))
    found = np.linalg.norm(solution.weights @ rows)
    peer = np.linalg.norm(np.array(expected["simplex_weights"]) @ rows)
    assert found <= peer * (1.0 + 1e-6) + 1e-9
    if case["variant"] != "LibMTL":
        assert found == pytest.approx(expected["oracle_min_norm"], rel=1e-9, abs=1e-7)


class TestBadInput:
    @pytest.mark.parametrize("gram", [np.ones(3), np.ones((2, 3)), np.ones((0, 0))])
    def test_shape(self, gram):
        with pytest.raises(ConfigurationError, match="shape"):
            solve_min_norm(gram)

    @pytest.mark.parametrize(
        ("gram", "message"),
        [
            ([[1.0, math.nan], [math.nan, 1.0]], "NaN or infinite"),
            ([[1.0, 0.3], [0.0, 1.0]], "not symmetric"),
            ([[-1.0, 0.0], [0.0, 1.0]], "negative diagonal"),
        ],
    )
    def test_values(self, gram, message):
        with pytest.raises(SolverError, match=message):
            solve_min_norm(gram)


def test_ties_at_zero():
    """A case in which an index enters and leaves at zero."""
    rows = gradients("duplicates", 7, seed=10535635)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    solution = solve_min_norm(gram_of(rows))
    assert solution.status == "converged"
    assert worst_violation(rows, solution.weights) <= 1e-10


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("rank", [5, 18, 22, 30])
def test_float32_gradients_of_any_rank(regime, rank):
    rows = gradients(regime, 40, seed=rank)
    rows = rows @ np.random.default_rng(rank).normal(size=(rows.shape[1], rank))
    single = rows.astype(np.float32)
    gram = (single @ single.T).astype(np.float64)
    solution = solve_min_norm(gram, precision=1.2e-7)
    assert solution.status == "converged"
    assert worst_violation(single.astype(np.float64), solution.weights) <= 2e-6
    with pytest.raises(ConfigurationError, match="precision must lie in"):
        solve_min_norm(gram, precision=0.0)
