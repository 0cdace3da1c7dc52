import math

import numpy as np
import pytest
from gradient_cases import SOLVABLE, drawn_gradients, gradients, gram_of, minimum_over_supports
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import gradients_of, load_cases

from mtl_methods.errors import ConfigurationError, SolverError
from mtl_methods.solvers.alpha_fair import solve_alpha_fair
from mtl_methods.solvers.min_norm import solve_min_norm

FLOAT32 = 1.2e-7


def residual_of(gram, weights, p, c=1.0):
    return np.max(np.abs((gram @ weights) * weights**p / c - 1.0))


def quick(examples):
    return settings(max_examples=examples, derandomize=True, deadline=None)


class TestResidual:
    @pytest.mark.parametrize("k", [2, 3, 11, 40])
    @pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0])
    @pytest.mark.parametrize("regime", SOLVABLE)
    def test_equal_scales(self, k, alpha, regime):
        gram = gram_of(gradients(regime, k, seed=1))
        solution = solve_alpha_fair(gram, 1.0 / alpha)
        assert solution.status == "converged"
        assert residual_of(gram, solution.weights, 1.0 / alpha) <= 1e-8

    @pytest.mark.parametrize("k", [2, 3, 11, 40])
    @pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0, 10.0])
    @pytest.mark.parametrize("seed", range(4))
    def test_norms_over_six_decades(self, k, alpha, seed):
        gram = gram_of(gradients("generic", k, seed, decades=3.0))
        solution = solve_alpha_fair(gram, 1.0 / alpha)
        assert solution.status == "converged"
        assert residual_of(gram, solution.weights, 1.0 / alpha) <= 1e-8

    @pytest.mark.parametrize("k", [2, 3, 11, 40])
    def test_norms_over_sixteen_decades(self, k):
        gram = gram_of(gradients("generic", k, seed=3, decades=8.0))
        solution = solve_alpha_fair(gram, 1.0)
        assert solution.status == "converged"
        assert residual_of(gram, solution.weights, 1.0) <= 1e-8

    @pytest.mark.parametrize("scale", [1e-156, 1e-140, 1e-12, 1e12, 1e140])
    def test_extreme_common_scales(self, scale):
        rows = gradients("generic", 5, seed=2)
        reference = solve_alpha_fair(gram_of(rows), 0.5).weights
        weights = solve_alpha_fair(gram_of(scale * rows), 0.5).weights
        np.testing.assert_allclose(weights, reference * scale ** (-2.0 / 1.5), rtol=1e-9)

    @pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0])
    def test_right_hand_side(self, p):
        gram = gram_of(gradients("generic", 7, seed=4))
        c = np.geomspace(0.1, 10.0, 7)
        solution = solve_alpha_fair(gram, p, c)
        assert solution.status == "converged"
        assert residual_of(gram, solution.weights, p, c) <= 1e-8

    @given(
        drawn_gradients(SOLVABLE),
        st.sampled_from((0.1, 0.2, 0.5, 1.0, 2.0)),
        st.floats(0.0, 1.0),
    )
    @quick(200)
    def test_stated_residual_is_the_residual(self, rows, p, spread):
        gram = gram_of(rows)
        c = np.linspace(1.0, 1.0 + 3.0 * spread, len(gram))
        solution = solve_alpha_fair(gram, p, c)
        assert solution.status == "converged"
        assert solution.residual <= 1e-8
        assert (solution.weights > 0.0).all()
        assert residual_of(gram, solution.weights, p, c) <= 1e-8

    @pytest.mark.parametrize("regime", ["conflict", "generic"])
    def test_minimises_the_potential(self, regime):
        p, rng = 0.5, np.random.default_rng(0)
        gram = gram_of(gradients(regime, 6, seed=5))

        def potential(w):
            return 0.5 * w @ gram @ w - np.sum(w ** (1.0 - p)) / (1.0 - p)

        weights = solve_alpha_fair(gram, p).weights
        lowest = potential(weights)
        for _ in range(50):
            assert potential(weights * np.exp(0.1 * rng.normal(size=6))) > lowest


class TestLaws:
    @given(drawn_gradients(SOLVABLE, decades=2.0), st.sampled_from((0.2, 0.5, 1.0, 2.0)))
    @quick(60)
    def test_scale_of_the_gram_matrix(self, rows, p):
        gram = gram_of(rows)
        weights = solve_alpha_fair(gram, p).weights
        scaled = solve_alpha_fair(1e5 * gram, p).weights
        np.testing.assert_allclose(scaled, 1e5 ** (-1.0 / (1.0 + p)) * weights, rtol=1e-6)

    @given(drawn_gradients(SOLVABLE, decades=2.0), st.sampled_from((0.2, 0.5, 1.0, 2.0)))
    @quick(60)
    def test_scale_of_single_tasks(self, rows, p):
        factors = np.geomspace(0.1, 10.0, len(rows))
        weights = solve_alpha_fair(gram_of(rows), p).weights
        scaled = solve_alpha_fair(gram_of(rows * factors[:, None]), p, factors ** (1.0 - p))
        np.testing.assert_allclose(scaled.weights * factors, weights, rtol=1e-6)

    @given(drawn_gradients(SOLVABLE, decades=2.0), st.sampled_from((0.2, 0.5, 1.0, 2.0)))
    @quick(60)
    def test_order_of_the_tasks(self, rows, p):
        order = np.random.default_rng(len(rows)).permutation(len(rows))
        weights = solve_alpha_fair(gram_of(rows), p).weights
        permuted = solve_alpha_fair(gram_of(rows[order]), p).weights
        np.testing.assert_allclose(permuted, weights[order], rtol=1e-6)

    @pytest.mark.parametrize("p", [0.01, 0.5, 1.0, 3.0, 1000.0])
    def test_orthogonal_gradients(self, p):
        lengths = np.array([0.5, 1.0, 4.0])
        solution = solve_alpha_fair(np.diag(lengths**2), p)
        np.testing.assert_allclose(solution.weights, lengths ** (-2.0 / (1.0 + p)), rtol=1e-12)

    @pytest.mark.parametrize("p", [0.1, 1.0, 10.0])
    def test_one_task(self, p):
        solution = solve_alpha_fair([[4.0]], p, [3.0])
        np.testing.assert_allclose(solution.weights, [(3.0 / 4.0) ** (1.0 / (1.0 + p))])
        assert solution.status == "converged"

    @pytest.mark.parametrize("k", [2, 40])
    def test_equal_gradients(self, k):
        solution = solve_alpha_fair(np.full((k, k), 2.0), 1.0)
        np.testing.assert_allclose(solution.weights, (2.0 * k) ** -0.5, rtol=1e-9)

    def test_two_tasks_of_nash(self):
        gram = np.array([[4.0, 1.0], [1.0, 9.0]])
        length = 1.0 / np.sqrt(np.diag(gram))
        expected = length / math.sqrt(1.0 + gram[0, 1] * length.prod())
        np.testing.assert_allclose(solve_alpha_fair(gram, 1.0).weights, expected, rtol=1e-12)

    def test_large_p_is_linear_scalarisation(self):
        gram = gram_of(gradients("wide", 5, seed=0))
        np.testing.assert_allclose(solve_alpha_fair(gram, 1e4).weights, 1.0, atol=1e-2)

    def test_small_p_is_minimum_norm(self):
        gram = gram_of(gradients("generic", 5, seed=7))
        weights = solve_alpha_fair(gram, 1e-2).weights
        shortest = solve_min_norm(gram)
        squared = weights @ gram @ weights / weights.sum() ** 2
        assert shortest.norm**2 <= squared <= 1.1 * shortest.norm**2


class TestStationary:
    @pytest.mark.parametrize("k", [2, 3, 11, 40])
    @pytest.mark.parametrize("p", [0.1, 0.5, 1.0, 2.0])
    @pytest.mark.parametrize(("dtype", "precision"), [("float64", 2.3e-16), ("float32", FLOAT32)])
    def test_opposing_gradients(self, k, p, dtype, precision):
        rows = gradients("generic", k, seed=11, decades=2.0)
        rows[-1] = -0.37 * rows[0]
        rows = rows.astype(dtype)
        gram = (rows @ rows.T).astype(np.float64)
        solution = solve_alpha_fair(gram, p, precision=precision)
        assert solution.status == "pareto_stationary"
        assert solution.weights.min() >= 0.0
        assert solution.weights.sum() == pytest.approx(1.0)
        exact = rows.astype(np.float64)
        lengths = solution.weights @ np.linalg.norm(exact, axis=1)
        bound = math.sqrt(16.0 * precision)
        assert np.linalg.norm(solution.weights @ exact) <= bound * lengths
        assert solution.residual <= bound

    @pytest.mark.parametrize("k", [3, 11, 40])
    @pytest.mark.parametrize(("dtype", "precision"), [("float64", 2.3e-16), ("float32", FLOAT32)])
    def test_many_gradients_that_cancel(self, k, dtype, precision):
        rng = np.random.default_rng(k)
        rows = rng.normal(size=(k, 3 * k))
        rows[-1] = -rng.uniform(0.1, 1.0, size=k - 1) @ rows[:-1]
        rows = (rows * 10.0 ** rng.uniform(-3.0, 3.0, size=(k, 1))).astype(dtype)
        gram = (rows @ rows.T).astype(np.float64)
        assert solve_alpha_fair(gram, 1.0, precision=precision).status == "pareto_stationary"

    def test_a_zero_gradient_is_named(self):
        rows = gradients("generic", 4, seed=0)
        rows[2] = 0.0
        solution = solve_alpha_fair(gram_of(rows), 1.0)
        assert solution.status == "pareto_stationary"
        np.testing.assert_array_equal(solution.weights, [0.0, 0.0, 1.0, 0.0])
        assert solution.residual == 0.0

    def test_all_gradients_zero(self):
        assert solve_alpha_fair(np.zeros((3, 3)), 1.0).status == "pareto_stationary"
        assert solve_alpha_fair([[0.0]], 1.0).status == "pareto_stationary"

    def test_no_false_alarm_near_stationarity(self):
        rows = np.array([[1.0, 1e-3], [-1.0, 1e-3]])
        solution = solve_alpha_fair(gram_of(rows), 1.0)
        assert solution.status == "converged"
        assert residual_of(gram_of(rows), solution.weights, 1.0) <= 1e-8

    def test_within_the_precision_counts(self):
        rows = np.array([[1.0, 3e-4], [-1.0, 3e-4]])
        assert solve_alpha_fair(gram_of(rows), 1.0, precision=FLOAT32).status == "pareto_stationary"
        assert solve_alpha_fair(gram_of(rows), 1.0).status == "converged"

    @given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 10_000))
    @quick(150)
    def test_against_all_supports(self, k, m, seed):
        rows = np.random.default_rng([k, m, seed]).integers(-3, 4, size=(k, m)).astype(np.float64)
        gram = gram_of(rows)
        exists = minimum_over_supports(gram) > 1e-9
        solution = solve_alpha_fair(gram, 1.0)
        assert solution.status == ("converged" if exists else "pareto_stationary")
        if exists:
            assert residual_of(gram, solution.weights, 1.0) <= 1e-8

    @pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
    def test_negative_eigenvalues_of_float32(self, alpha):
        rows = np.repeat(gradients("wide", 4, seed=9), 10, axis=0).astype(np.float32)
        gram = (rows @ rows.T).astype(np.float64)
        assert np.linalg.eigvalsh(gram).min() < 0.0
        solution = solve_alpha_fair(gram, 1.0 / alpha, precision=FLOAT32)
        assert solution.status == "converged"
        assert residual_of(0.5 * (gram + gram.T), solution.weights, 1.0 / alpha) <= 1e-8


class TestNearlyOpposing:
    """``v'C v`` cancels by eight digits there: what F cannot tell must not halve steps."""

    def test_a_pair_that_once_took_every_step_allowed(self):
        gram = np.array(
            [
                [0.5385691608603511, -0.5383223446670177],
                [-0.5383223446670177, 0.5380776760110305],
            ]
        )
        solution = solve_alpha_fair(gram, 0.5)
        assert solution.status == "converged"
        assert residual_of(gram, solution.weights, 0.5) <= 1e-8
        assert solution.iterations <= 20

    @pytest.mark.parametrize("p", [0.1, 0.5, 1.0, 2.0])
    def test_pairs_end_where_rounding_is_reached(self, p):
        generator = np.random.default_rng(7)
        iterations, residuals = [], []
        for _ in range(100):
            first = generator.standard_normal(5)
            rows = np.stack([first, 1e-3 * generator.standard_normal(5) - first])
            solution = solve_alpha_fair(gram_of(rows), p)
            assert solution.status != "pareto_stationary"
            iterations.append(solution.iterations)
            residuals.append(residual_of(gram_of(rows), solution.weights, p))
        assert np.median(iterations) <= 20
        assert np.max(iterations) <= 30
        assert np.median(residuals) <= 1e-8

    @pytest.mark.parametrize(("seed", "p"), [(99, 0.1), (285, 0.3), (463, 0.3), (574, 0.3)])
    def test_many_tasks_of_unlike_norms_that_nearly_cancel(self, seed, p):
        """Steps on the curve alone were halved ten times here, and took all that is allowed."""
        generator = np.random.default_rng(seed)
        rows = generator.normal(size=(16, 8)) * 10.0 ** generator.uniform(-3, 3, size=(16, 1))
        solution = solve_alpha_fair(gram_of(rows), p)
        assert solution.status == "converged"
        assert solution.iterations <= 50
        assert residual_of(gram_of(rows), solution.weights, p) <= 1e-6


class TestReference:
    @pytest.mark.parametrize(
        "case", load_cases("FairGrad", "fairgrad"), ids=lambda case: case["id"]
    )
    def test_fairgrad(self, case):
        expected, alpha = case["expected"], case["params"]["alpha"]
        gram = gram_of(gradients_of(case))
        solution = solve_alpha_fair(gram, 1.0 / alpha)
        if expected["oracle_weights"] is None:
            assert solution.status == "pareto_stationary"
            return
        assert solution.status == "converged"
        np.testing.assert_allclose(solution.weights, expected["oracle_weights"], rtol=1e-7)
        if expected["peer_vs_oracle_max_rel_diff"] < 1e-3:
            tolerance = max(
                case["tolerance"]["rtol"], 2.0 * expected["peer_vs_oracle_max_rel_diff"]
            )
            np.testing.assert_allclose(solution.weights, expected["weights"], rtol=tolerance)
        else:
            assert residual_of(gram, solution.weights, 1.0 / alpha) <= expected["max_rel_residual"]

    @pytest.mark.parametrize(
        "case", load_cases("Nash-MTL", "nash-mtl"), ids=lambda case: case["id"]
    )
    def test_nash_mtl(self, case):
        for rows, step in zip(case["inputs"]["G_steps"], case["expected"]["steps"], strict=True):
            solution = solve_alpha_fair(gram_of(np.array(rows)), 1.0)
            assert solution.status == "converged"
            np.testing.assert_allclose(solution.weights, step["oracle_w"], rtol=1e-7)
            if step["peer_vs_oracle_max_rel_diff_unnormalised"] < 1e-5:
                np.testing.assert_allclose(solution.weights, step["alpha"], rtol=1e-4)


class TestHonesty:
    def test_few_iterations_are_admitted(self):
        gram = gram_of(gradients("conflict", 11, seed=1))
        solution = solve_alpha_fair(gram, 1.0, max_iterations=1)
        assert solution.status == "inaccurate"
        assert solution.iterations == 1
        assert residual_of(gram, solution.weights, 1.0) == pytest.approx(solution.residual)

    def test_underflow_is_admitted(self):
        rows = np.array([[1e8, 0.0], [0.5e-8, 0.5e-8]])
        solution = solve_alpha_fair(gram_of(rows), 0.01)
        assert solution.status == "inaccurate"
        assert solution.residual >= 1.0
        assert np.isfinite(solution.weights).all()

    @pytest.mark.parametrize("p", [0.1, 0.5, 1.0, 3.0])
    def test_cancellation_is_admitted(self, p):
        rows = np.array([[1.0, 1e-7], [-1.0, 1e-7]])
        solution = solve_alpha_fair(gram_of(rows), p)
        assert solution.status == "inaccurate"
        assert solution.residual > 1e-7

    @pytest.mark.skipif(
        np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps,
        reason="NumPy has no extended precision here",
    )
    @pytest.mark.parametrize("seed", range(3))
    def test_cancellation_within_rounding_is_none(self, seed):
        rows = np.random.default_rng(seed).normal(size=(40, 84))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        gram = gram_of(rows - 0.9999 * rows.mean(axis=0))
        solution = solve_alpha_fair(gram, 0.5)
        assert solution.status == "converged"
        exact, w = gram.astype(np.longdouble), solution.weights.astype(np.longdouble)
        residual = float(np.abs((exact @ w) * np.sqrt(w) - 1.0).max())
        rounding = 2.2e-16 * float((np.abs(exact) @ w * np.sqrt(w)).max())
        assert residual <= min(rounding, 1e-7)
        assert solution.residual == pytest.approx(residual, rel=1e-3)

    def test_nearly_cancelling_gradients_need_few_steps(self):
        rows = np.random.default_rng(0).normal(size=(20, 84))
        rows = np.concatenate(
            [rows, 1e-3 * np.random.default_rng(1).normal(size=rows.shape) - rows]
        )
        solution = solve_alpha_fair(gram_of(rows), 0.5)
        assert solution.status == "converged"
        assert solution.iterations <= 12

    def test_arguments_are_left_alone(self):
        gram, c = gram_of(gradients("generic", 4, seed=0)), np.ones(4)
        before = gram.copy()
        gram.setflags(write=False)
        solve_alpha_fair(gram, 0.5, c)
        np.testing.assert_array_equal(gram, before)
        np.testing.assert_array_equal(c, 1.0)

    def test_any_memory_layout(self):
        gram = gram_of(gradients("generic", 6, seed=0))
        expected = solve_alpha_fair(gram[::2, ::2].copy(), 0.5).weights
        np.testing.assert_array_equal(solve_alpha_fair(gram[::2, ::2], 0.5).weights, expected)
        transposed = solve_alpha_fair(np.asfortranarray(gram), 0.5).weights
        np.testing.assert_allclose(transposed, solve_alpha_fair(gram, 0.5).weights, rtol=1e-12)

    def test_columns_first_take_no_more_steps(self):
        gram = gram_of(gradients("generic", 11, seed=0, decades=3.0))
        solution = solve_alpha_fair(np.asfortranarray(gram), 0.5)
        assert solution.status == "converged"
        assert solution.iterations == solve_alpha_fair(gram, 0.5).iterations

    @pytest.mark.parametrize("p", [0.1, 1.0, 3.0])
    def test_start(self, p):
        gram = gram_of(gradients("conflict", 11, seed=1))
        cold = solve_alpha_fair(gram, p)
        warm = solve_alpha_fair(gram, p, start=cold.weights)
        far = solve_alpha_fair(gram, p, start=np.geomspace(1e-4, 1e4, 11))
        assert warm.iterations == 0
        assert not np.shares_memory(warm.weights, cold.weights)
        assert far.status == "converged"
        np.testing.assert_allclose(far.weights, cold.weights, rtol=1e-7)

    @pytest.mark.parametrize("p", [0.1, 1.0, 4.0, 10.0])
    @pytest.mark.parametrize("decades", [3, 9, 17])
    def test_a_start_that_leads_nowhere_is_left_aside(self, p, decades):
        generator = np.random.default_rng(decades)
        for seed in range(20):
            gram = gram_of(gradients("conflict", 3, seed=seed))
            start = 10.0 ** generator.uniform(-decades, decades, size=3)
            cold = solve_alpha_fair(gram, p)
            started = solve_alpha_fair(gram, p, start=start)
            assert started.status == cold.status
            np.testing.assert_allclose(started.weights, cold.weights, rtol=1e-6)


class TestBadInput:
    @pytest.mark.parametrize("gram", [np.ones(3), np.ones((2, 3)), np.ones((0, 0)), 1.0])
    def test_shape(self, gram):
        with pytest.raises(ConfigurationError, match="shape"):
            solve_alpha_fair(gram, 1.0)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_not_finite(self, value):
        gram = np.eye(3)
        gram[0, 1] = gram[1, 0] = value
        with pytest.raises(SolverError, match="NaN or infinite"):
            solve_alpha_fair(gram, 1.0)

    def test_opposite_infinities(self):
        gram = np.array([[1.0, math.inf], [-math.inf, 1.0]])
        with pytest.raises(SolverError, match="NaN or infinite"):
            solve_alpha_fair(gram, 1.0)

    def test_not_symmetric(self):
        with pytest.raises(SolverError, match="not symmetric"):
            solve_alpha_fair([[1.0, 0.5], [0.2, 1.0]], 1.0)

    def test_negative_diagonal(self):
        with pytest.raises(SolverError, match="negative diagonal"):
            solve_alpha_fair([[1.0, 0.0], [0.0, -1.0]], 1.0)

    @pytest.mark.parametrize("p", [0.0, -1.0, math.nan, math.inf])
    def test_exponent(self, p):
        with pytest.raises(ConfigurationError, match="p must be"):
            solve_alpha_fair(np.eye(2), p)

    @pytest.mark.parametrize("name", ["c", "start"])
    @pytest.mark.parametrize(
        ("value", "error"),
        [
            ([1.0, 0.0], ConfigurationError),
            ([1.0, -1.0], ConfigurationError),
            ([1.0], ConfigurationError),
            ([1.0, math.nan], SolverError),
        ],
    )
    def test_vectors(self, name, value, error):
        with pytest.raises(error, match=name):
            solve_alpha_fair(np.eye(2), 1.0, **{name: value})

    @pytest.mark.parametrize(
        "settings", [{"tolerance": 0.0}, {"max_iterations": 0}, {"precision": 0.0}]
    )
    def test_settings(self, settings):
        with pytest.raises(ConfigurationError, match="must lie"):
            solve_alpha_fair(np.eye(2), 1.0, **settings)
