import math

import numpy as np
import pytest
from gradient_cases import REGIMES, drawn_gradients, gradients, gram_of
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import gradients_of, load_cases

from mtl_methods.errors import ConfigurationError, SolverError
from mtl_methods.solvers import _regular_rows
from mtl_methods.solvers._supports import solve_by_series
from mtl_methods.solvers.cone_projection import solve_cone_projection


def quick(examples):
    return settings(max_examples=examples, derandomize=True, deadline=None)


def assert_projected(rows, lower, weights):
    """The projection's conditions: no conflict, and only conflicts are moved."""
    lengths = np.linalg.norm(rows, axis=1)
    scale = lengths * max(np.abs(weights) @ lengths, 1e-300)
    products = (rows @ (weights @ rows)) / np.where(scale > 0.0, scale, 1.0)
    assert (weights >= lower).all()
    assert products.min() >= -1e-10
    assert np.abs(products[weights > lower]).max(initial=0.0) <= 1e-10


@given(drawn_gradients(REGIMES, largest=20), st.integers(0, 1000))
@quick(200)
def test_one_combination(rows, seed):
    lower = np.random.default_rng(seed).uniform(0.0, 1.0, size=len(rows))
    solution = solve_cone_projection(gram_of(rows), lower)
    assert solution.status == "converged"
    assert_projected(rows, lower, solution.weights)


@given(drawn_gradients(REGIMES, largest=14))
@quick(150)
def test_every_task_by_itself(rows):
    lower = np.eye(len(rows))
    solution = solve_cone_projection(gram_of(rows), lower)
    assert solution.status == "converged"
    assert solution.weights.shape == lower.shape
    for bound, weights in zip(lower, solution.weights, strict=True):
        assert_projected(rows, bound, weights)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("decades", [0.0, 3.0])
def test_forty_tasks(regime, decades):
    rows = gradients(regime, 40, seed=5, decades=decades)
    lower = np.eye(40)
    together = solve_cone_projection(gram_of(rows), lower)
    assert together.status == "converged"
    assert together.residual <= 1e-11
    for task in (0, 13, 39):
        assert_projected(rows, lower[task], together.weights[task])
        alone = solve_cone_projection(gram_of(rows), lower[task])
        np.testing.assert_allclose(
            together.weights[task] @ rows,
            alone.weights @ rows,
            atol=1e-7 * np.linalg.norm(rows[task]),
        )


@pytest.mark.parametrize(
    ("tasks", "length", "series"), [(40, 8000, True), (24, 1500, True), (40, 60, False)]
)
@pytest.mark.parametrize("decades", [0.0, 6.0])
def test_nearly_orthogonal_gradients_take_a_series(monkeypatch, tasks, length, series, decades):
    taken = []

    def counted(*args):
        taken.append(1)
        return solve_by_series(*args)

    monkeypatch.setattr(_regular_rows, "solve_by_series", counted)
    generator = np.random.default_rng(tasks)
    rows = generator.normal(size=(tasks, length))
    rows *= 10.0 ** generator.uniform(-decades / 2, decades / 2, size=(tasks, 1))
    gram = gram_of(rows)
    solution = solve_cone_projection(gram, np.eye(tasks))
    assert solution.status == "converged"
    assert bool(taken) == series
    for bound, weights in zip(np.eye(tasks), solution.weights, strict=True):
        assert_projected(rows, bound, weights)
    monkeypatch.setattr(_regular_rows, "_NEAR", 0.0)
    lengths = np.sqrt(gram.diagonal())
    other = solve_cone_projection(gram, np.eye(tasks)).weights * lengths / lengths[:, None]
    np.testing.assert_allclose(solution.weights * lengths / lengths[:, None], other, atol=1e-12)


def test_no_conflict_changes_nothing():
    gram = gram_of(gradients("positive", 6, seed=0))
    solution = solve_cone_projection(gram, np.eye(6))
    np.testing.assert_array_equal(solution.weights, np.eye(6))
    assert solution.iterations == 0


def test_two_tasks_are_pcgrad():
    rows = np.array([[1.0, 0.0], [-1.0, 1.0]])
    weights = solve_cone_projection(gram_of(rows), np.eye(2)).weights
    np.testing.assert_allclose(weights, [[1.0, 0.5], [1.0, 1.0]])


@given(
    st.floats(-1.0, 1.0),
    st.tuples(st.floats(1e-100, 1e100), st.floats(1e-100, 1e100)),
    st.lists(st.tuples(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0)), min_size=1, max_size=3),
)
@quick(300)
def test_two_tasks_are_as_beside_a_third_that_is_orthogonal(cosine, lengths, lower):
    """Two tasks have a solver of their own, three do not."""
    across = math.sqrt(1.0 - cosine * cosine)
    rows = np.array([[1.0, 0.0, 0.0], [cosine, across, 0.0], [0.0, 0.0, 1.0]])
    rows *= np.array([[lengths[0]], [lengths[1]], [1.0]])
    # Coefficients of the unit gradients, so that they say something about each other.
    bounds = np.array([[*pair, 0.0] for pair in lower]) / [*lengths, 1.0]
    gram = gram_of(rows)
    alone = solve_cone_projection(gram[:2, :2], bounds[:, :2])
    beside = solve_cone_projection(gram, bounds)
    assert alone.status == beside.status == "converged"
    units = np.array([[1.0, 0.0], [cosine, across]])
    np.testing.assert_allclose(
        (alone.weights * lengths) @ units, (beside.weights[:, :2] * lengths) @ units, atol=1e-10
    )
    for bound, weights in zip(bounds[:, :2] * lengths, alone.weights * lengths, strict=True):
        assert (weights >= bound - 1e-12).all()
        slopes = units @ (weights @ units)
        assert slopes.min() >= -1e-10
        assert np.abs(slopes[weights > bound + 1e-9]).max(initial=0.0) <= 1e-9


def test_two_tasks_need_no_system():
    gram = np.array([[4.0, -1.0], [-1.0, 1.0]])
    for lower in ([1.0, 0.0], [0.0, 1.0], [0.2, 0.3], [-1.0, 3.0], [-1.0, -1.0]):
        assert solve_cone_projection(gram, lower).iterations == 0
    both = solve_cone_projection(gram, [-1.0, -1.0])
    np.testing.assert_allclose(both.weights, 0.0, atol=1e-15)


def test_opposing_gradients_project_to_zero():
    rows = np.array([[1.0, 0.0], [-2.0, 0.0]])
    weights = solve_cone_projection(gram_of(rows), np.eye(2)).weights
    np.testing.assert_allclose(weights @ rows, 0.0, atol=1e-12)


@pytest.mark.parametrize("rank", [3, 5, 10])
@pytest.mark.parametrize("decades", [0.0, 3.0])
def test_many_tasks_in_few_dimensions_share_their_solution(rank, decades):
    """Gradients that leave no direction without conflict: one vanishing combination serves all."""
    generator = np.random.default_rng(rank)
    rows = generator.normal(size=(40, rank))
    rows *= 10.0 ** generator.uniform(-decades, decades, size=(40, 1))
    lower = np.eye(40)
    solution = solve_cone_projection(gram_of(rows), lower)
    assert solution.status == "converged"
    assert solution.iterations == 1
    lengths = np.linalg.norm(rows, axis=1)
    sizes = solution.weights @ lengths
    assert (solution.weights >= lower).all()
    assert (np.linalg.norm(solution.weights @ rows, axis=1) <= 1e-12 * sizes).all()
    assert (sizes <= 1e4 * lengths).all()


@pytest.mark.parametrize("rank", [14, 16, 18, 20, 22, 25])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("signs", ["identity", "positive", "mixed"])
def test_cones_that_hardly_open_or_do_not(rank, seed, signs):
    generator = np.random.default_rng([rank, seed])
    rows = generator.normal(size=(40, rank))
    lower = {
        "identity": np.eye(40),
        "positive": generator.uniform(size=(30, 40)),
        "mixed": generator.normal(size=(30, 40)),
    }[signs]
    solution = solve_cone_projection(gram_of(rows), lower)
    assert solution.status == "converged"
    for bound, weights in zip(lower, solution.weights, strict=True):
        assert_projected(rows, bound, weights)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("distance", [1e-2, 1e-3])
@pytest.mark.parametrize("seed", range(3))
def test_pairs_that_nearly_cancel_or_agree(sign, distance, seed):
    """The matrix curves on two scales; most supports are known before the first system."""
    generator = np.random.default_rng(seed)
    half = generator.normal(size=(20, 84))
    rows = np.concatenate([half, sign * half + distance * generator.normal(size=half.shape)])
    solution = solve_cone_projection(gram_of(rows), np.eye(40))
    assert solution.residual <= 1e-11
    assert solution.iterations <= 100
    for bound, weights in zip(np.eye(40), solution.weights, strict=True):
        assert_projected(rows, bound, weights)


@pytest.mark.parametrize("regime", [*REGIMES, "opposing"])
@pytest.mark.parametrize("rank", [5, 20, 22, 30, 84])
def test_float32_gradients_of_any_rank(regime, rank):
    """Rounded Gram matrices of dependent gradients are indefinite: solved to their precision."""
    rows = gradients("generic" if regime == "opposing" else regime, 40, seed=rank)
    if rank < 84:
        rows = rows @ np.random.default_rng(rank).normal(size=(rows.shape[1], rank))
    if regime == "opposing":
        rows[20:] = -rows[:20] * (1.0 + 1e-3 * np.random.default_rng(1).normal(size=(20, 1)))
    single = rows.astype(np.float32)
    gram = (single @ single.T).astype(np.float64)
    for lower in (np.eye(40), np.full((1, 40), 1.0 / 40.0)):
        solution = solve_cone_projection(gram, lower, precision=1.2e-7)
        assert solution.status == "converged"
        lengths = np.sqrt(gram.diagonal())
        size = np.abs(solution.weights) @ lengths
        products = (solution.weights @ gram) / lengths / size[:, None]
        assert (solution.weights >= lower).all()
        assert products.min() >= -1e-6
        assert np.abs(products[solution.weights > lower]).max(initial=0.0) <= 1e-6


def test_the_residual_is_that_of_the_matrix_as_given():
    rows = gradients("few_parameters", 12, seed=3).astype(np.float32)
    gram = (rows @ rows.T).astype(np.float64)
    lower = np.eye(12)
    solution = solve_cone_projection(gram, lower, precision=1.2e-7)
    lengths = np.sqrt(gram.diagonal())
    slope = (solution.weights @ gram) / lengths
    wrong = np.where(solution.weights > lower, np.abs(slope), -slope)
    relative = wrong / (solution.weights @ lengths)[:, None]
    assert solution.residual == pytest.approx(relative.max(), rel=1e-6, abs=1e-15)


def test_zero_gradient_stays():
    rows = gradients("generic", 4, seed=2)
    rows[1] = 0.0
    lower = np.array([0.1, 0.2, 0.3, 0.4])
    weights = solve_cone_projection(gram_of(rows), lower).weights
    assert weights[1] == 0.2
    assert_projected(rows, lower, weights)


@pytest.mark.parametrize("size", [1.0, 1e-8, 1e-14, 1e-40])
@pytest.mark.parametrize("each", [True, False])
def test_zero_gradient_does_not_hide_small_ones(size, each):
    rows = np.random.default_rng(0).normal(size=(20, 12))
    rows[3] = 0.0
    lower = np.eye(20) if each else np.full(20, 1.0 / 20)
    solution = solve_cone_projection(gram_of(size * rows), lower)
    assert solution.status == "converged"
    assert (solution.weights @ gram_of(rows)).min() >= -1e-12 * np.abs(solution.weights).sum()


@pytest.mark.parametrize(
    ("tasks", "seed", "dtype"),
    [(12, 7980, "f4"), (12, 39480, "f8"), (20, 31322, "f8"), (30, 21563, "f8")],
)
def test_sparse_gradients_whose_steps_end_in_dust(tasks, seed, dtype):
    """Where another task stops a step at once, the one that entered must stay a candidate."""
    generator = np.random.default_rng([11, seed])
    rows = generator.normal(size=(tasks, int(generator.integers(1, tasks + 3))))
    rows = (rows * (generator.random(rows.shape) < 0.2)).astype(dtype)
    gram = (rows @ rows.T).astype(np.float64)
    precision = float(np.finfo(dtype).eps)
    assert solve_cone_projection(gram, np.eye(tasks), precision=precision).status == "converged"


@given(drawn_gradients(("generic", "conflict", "wide")), st.sampled_from((1e-5, 1e5)))
@quick(60)
def test_order_and_scale(rows, scale):
    order = np.random.default_rng(len(rows)).permutation(len(rows))
    lower = np.linspace(0.1, 1.0, len(rows))
    weights = solve_cone_projection(gram_of(rows), lower).weights
    other = solve_cone_projection(gram_of(scale * rows[order]), lower[order]).weights
    np.testing.assert_allclose(other, weights[order], rtol=1e-7)


@pytest.mark.parametrize(
    "case",
    load_cases("UPGrad", "torchjd") + load_cases("DualProj", "torchjd"),
    ids=lambda case: case["id"],
)
def test_reference(case):
    rows, params = gradients_of(case), case["params"]
    k, trace = len(rows), np.trace(gram_of(rows))
    # The peer's regularisation, which is no part of the projection.
    gram = gram_of(rows) / trace if trace >= params["norm_eps"] else np.zeros((k, k))
    gram += params["reg_eps"] * np.eye(k)
    preference = np.full(k, 1.0 / k)
    if params["pref_vector"] is not None:
        preference = np.array(params["pref_vector"])
    if case["method"] == "UPGrad":
        weights = solve_cone_projection(gram, np.diag(preference)).weights.sum(axis=0)
    else:
        weights = solve_cone_projection(gram, preference).weights
    tolerance = case["tolerance"]
    np.testing.assert_allclose(
        weights, case["expected"]["weights"], rtol=tolerance["rtol"], atol=tolerance["atol"]
    )


class TestBadInput:
    @pytest.mark.parametrize("lower", [1.0, np.ones(3), np.ones((2, 3)), np.ones((1, 2, 2))])
    def test_shape(self, lower):
        with pytest.raises(ConfigurationError, match="lower must have shape"):
            solve_cone_projection(np.eye(2), lower)

    @pytest.mark.parametrize("precision", [0.0, 0.1, math.nan])
    def test_precision(self, precision):
        with pytest.raises(ConfigurationError, match="precision must lie in"):
            solve_cone_projection(np.eye(2), [1.0, 1.0], precision=precision)

    def test_not_finite(self):
        with pytest.raises(SolverError, match="lower has"):
            solve_cone_projection(np.eye(2), [1.0, math.nan])
        with pytest.raises(SolverError, match="NaN or infinite"):
            solve_cone_projection([[1.0, math.nan], [math.nan, 1.0]], [1.0, 1.0])
