"""Two tasks have formulas of their own: they agree with the solvers for any number of tasks."""

import math

import numpy as np
import pytest
from gradient_cases import gram_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_methods.solvers import alpha_fair, cagrad, cone_projection, min_norm

GENERAL = {
    alpha_fair: "alpha_fair_between_two",
    cagrad: "cagrad_between_two",
    cone_projection: "project_between_two",
}


def quick(examples):
    return settings(max_examples=examples, derandomize=True, deadline=None)


def pairs(largest_cosine, decades):
    """Two gradients of a given angle and of lengths 10**(-decades) to 10**decades."""
    return st.builds(
        lambda cosine, logs: (
            np.array([[1.0, 0.0], [cosine, math.sqrt(1.0 - cosine * cosine)]])
            * 10.0 ** np.array(logs)[:, None]
        ),
        st.floats(-largest_cosine, largest_cosine),
        st.tuples(*2 * [st.floats(-decades, decades)]),
    )


def both_ways(module, solve):
    """What the formulas for two tasks give, and the solver without them."""
    closed = solve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, GENERAL[module], lambda *args: None)
        general = solve()
    assert closed.status == general.status
    return closed, general


def assert_near(found, expected, rows, tolerance):
    """Coefficients of the unit gradients agree, relative to the largest."""
    sizes = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(
        found * sizes, expected * sizes, atol=tolerance * float(np.abs(expected * sizes).max())
    )


@given(pairs(0.999, 5.0), st.floats(0.01, 100.0))
@quick(300)
def test_cagrad(rows, c):
    closed, general = both_ways(cagrad, lambda: cagrad.solve_cagrad(gram_of(rows), c))
    assert closed.residual <= 1e-12
    assert closed.objective == pytest.approx(general.objective, rel=1e-9)
    assert closed.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert_near(closed.correction, general.correction, rows, 1e-8)
    mean = rows.mean(axis=0)
    length = np.linalg.norm(closed.correction @ rows)
    assert length == pytest.approx(c * np.linalg.norm(mean), rel=1e-9)


@given(pairs(1.0, 6.0))
@quick(300)
def test_min_norm(rows):
    """Shortest exactly if no gradient's product with it is below its square."""
    solution = min_norm.solve_min_norm(gram_of(rows))
    sizes = np.linalg.norm(rows, axis=1)
    weights = solution.weights
    assert solution.iterations == 0
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    shortest, size = weights @ rows, float(weights @ sizes)
    excess = (shortest @ shortest - rows @ shortest) / ((sizes + size) * size)
    assert excess.max() <= 1e-10
    assert solution.residual == pytest.approx(max(excess.max(), 0.0), abs=1e-14)
    assert solution.norm == pytest.approx(np.linalg.norm(shortest), abs=1e-7 * size)
    assert solution.relative_norm == pytest.approx(solution.norm / size, abs=1e-7)


@given(
    pairs(0.998, 4.0),
    st.sampled_from([0.1, 0.5, 1.0, 2.0, 10.0]),
    st.one_of(st.none(), st.tuples(st.floats(0.01, 100.0), st.floats(0.01, 100.0))),
)
@quick(300)
def test_alpha_fair(rows, p, c):
    gram = gram_of(rows)
    closed, general = both_ways(alpha_fair, lambda: alpha_fair.solve_alpha_fair(gram, p, c))
    if closed.status == "inaccurate":  # rounding tells, and the formulas left it to the others
        np.testing.assert_array_equal(closed.weights, general.weights)
        return
    ratio = (gram @ closed.weights) * closed.weights**p / (1.0 if c is None else np.array(c))
    np.testing.assert_allclose(ratio, 1.0, atol=2.0 * max(closed.residual, 1e-10))
    np.testing.assert_allclose(closed.weights, general.weights, rtol=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0, 10.0])
@pytest.mark.parametrize("cosine", [-0.99, -0.5, 0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("length", [1e-3, 1.0, 30.0])
def test_formulas_serve_ordinary_gradients(monkeypatch, p, cosine, length):
    """The agreement above would hold as well if formulas always gave up."""
    gram = np.array([[1.0, cosine * length], [cosine * length, length**2]])
    for module, name in (
        (alpha_fair, "plain_steps"),
        (min_norm, "nearest_in_hull"),
        (cagrad, "by_exchange"),
    ):
        monkeypatch.delattr(module, name)
    if cosine >= 0.0 or p in (0.5, 1.0):  # elsewhere sums may cancel so far that it gives up
        assert alpha_fair.solve_alpha_fair(gram, p).residual <= 1e-10
    assert min_norm.solve_min_norm(gram).residual <= 1e-15
    if cosine < 1.0:
        assert cagrad.solve_cagrad(gram, 0.5).residual <= 1e-12


def test_alpha_one_is_equal_shares():
    """v_1² + ρ v_1 v_2 = 1 = v_2² + ρ v_1 v_2, so that v_1 = v_2 = 1 / √(1 + ρ)."""
    rows = np.array([[2.0, 0.0], [3.0 * 0.6, 3.0 * 0.8]])
    weights = alpha_fair.solve_alpha_fair(gram_of(rows), 1.0).weights
    np.testing.assert_allclose(weights, np.array([1 / 2, 1 / 3]) / math.sqrt(1.6), rtol=1e-13)


def test_start_and_steps_are_checked_for_two_tasks_as_well():
    gram = np.array([[1.0, 0.5], [0.5, 100.0]])
    with pytest.raises(alpha_fair.ConfigurationError, match="start must be positive"):
        alpha_fair.solve_alpha_fair(gram, 1.0, start=[1.0, -1.0])
    assert alpha_fair.solve_alpha_fair(gram, 0.5).iterations > 2
    assert alpha_fair.solve_alpha_fair(gram, 0.5, max_iterations=1).iterations == 1


def test_the_same_task_twice_is_treated_alike():
    weights = min_norm.solve_min_norm(np.full((2, 2), 3.0)).weights
    np.testing.assert_allclose(weights, [0.5, 0.5])


@pytest.mark.parametrize(
    ("cosine", "length", "p"), [(-0.9, 3.0, 2.0), (-0.941, 0.001, 0.152), (-0.52, 5819.0, 0.131)]
)
def test_steps_beyond_the_range_of_ratios_are_halved(cosine, length, p):
    gram = [1.0, cosine * length, cosine * length, length**2]
    pair = alpha_fair.alpha_fair_between_two(gram, p, (1.0, 1.0))
    assert pair is not None
    assert pair.residual <= 1e-12 * pair.cancelled
    assert pair.distance > 0.0


def test_where_sums_cancel_the_residual_is_measured_in_extended_precision():
    """1e-10 by chance, with rounding of 1e-10, is no proof of 1e-10."""
    cosine, length, p = -0.9436077071717887, 0.000853349003133809, 2.464095569932974
    gram = np.array([[1.0, cosine * length], [cosine * length, length * length]])
    pair = alpha_fair.alpha_fair_between_two(gram.ravel().tolist(), p, (1.0, 1.0))
    assert pair is not None
    assert pair.residual <= 1e-10
    closed, general = both_ways(alpha_fair, lambda: alpha_fair.solve_alpha_fair(gram, p))
    assert (closed.residual, closed.iterations) == (general.residual, general.iterations)


def test_precision_decides_what_is_stationary():
    gram = np.array([[1.0, -0.98], [-0.98, 1.0]])
    assert alpha_fair.solve_alpha_fair(gram, 1.0).status == "converged"
    assert alpha_fair.solve_alpha_fair(gram, 1.0, precision=5e-3).status == "pareto_stationary"


@pytest.mark.parametrize("p", [0.25, 0.5])
def test_a_cosine_above_one_is_left_to_the_others(p):
    """No Gram matrix has one, but none of the checks before says so."""
    cosine = (1.0 + p) / (1.0 - p)  # where the derivative is 0
    gram = np.array([[1.0, cosine], [cosine, 1.0]])
    assert alpha_fair.solve_alpha_fair(gram, p).residual <= 1e-10


def test_rounded_opposing_gradients_in_coarse_precision():
    """The cosine is below -1 by rounding; one row of bounds does not change the others' result."""
    gram = np.array(
        [[5943.16650390625, -3.781355142593384], [-3.781355142593384, 0.0024058970157057047]]
    )
    lower = np.array([[-0.14, 0.83], [-1.43, 2.04], [-0.81, -0.77], [1.0, 0.0]])
    together = cone_projection.solve_cone_projection(gram, lower, precision=7.8e-3)
    assert together.residual <= 1e-12
    assert (together.weights >= lower).all()
    for bounds, weights in zip(lower, together.weights, strict=True):
        alone = cone_projection.solve_cone_projection(gram, bounds, precision=7.8e-3)
        np.testing.assert_array_equal(alone.weights, weights)


def test_numbers_out_of_range_are_no_solution():
    tiny = 5e-324
    assert cagrad.cagrad_between_two([tiny, tiny, tiny, 1e300], 0.5, 1e-15) is None
    gram = [tiny, -2.2e-262, -2.2e-262, 1e-200]
    assert cone_projection.project_between_two(gram, [(0.0, 1e300)]) is None
    assert alpha_fair.alpha_fair_between_two([1e-130, 0.0, 0.0, 1.0], 1.0, (1.0, 1.0)) is None
    assert min_norm.nearest_between_two([1e-308, -0.9995, -0.9995, 1e-308]) is None
