"""The measures on values worked out by hand, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import AnalysisError, measures

# Two tasks: A has one metric (higher is better), B has two (lower is better).
HIGHER = [True, False, False]
TASKS = ["A", "B", "B"]
BASE = [0.8, 2.0, 10.0]
VALUES = [[0.72, 2.2, 9.0], [0.88, 2.0, 10.0]]
shares = arrays(np.float64, st.integers(1, 12), elements=st.floats(0.0, 1e3))


def test_by_hand() -> None:
    drops = measures.relative_drops(VALUES, BASE, HIGHER)
    np.testing.assert_allclose(drops, [[10, 10, -10], [-10, 0, 0]])
    np.testing.assert_allclose(measures.delta_m(VALUES, BASE, HIGHER), [10 / 3, -10 / 3])
    np.testing.assert_allclose(measures.delta_mtm(VALUES, BASE, HIGHER, TASKS), [-5, 5])
    np.testing.assert_allclose(measures.delta_p(VALUES, BASE, HIGHER, TASKS), [-5, 5])
    np.testing.assert_allclose(measures.worst_drop(VALUES, BASE, HIGHER, TASKS), [10, 0])
    np.testing.assert_allclose(measures.delta_m_variance(VALUES, BASE, HIGHER), [800 / 9, 200 / 9])


def test_a_negative_baseline_does_not_turn_a_gain_into_a_drop() -> None:
    assert measures.relative_drops([-1.0], [-2.0], [True])[0] == pytest.approx(-50.0)


def test_ranks_and_tie_rules() -> None:
    values = [[0.9, 1.0], [0.9, 2.0], [0.8, 3.0], [0.7, 3.0]]
    higher, tasks = [True, False], ["A", "B"]
    np.testing.assert_array_equal(
        measures.metric_ranks(values, higher, "min"), [[1, 1], [1, 2], [3, 3], [4, 3]]
    )
    np.testing.assert_array_equal(
        measures.metric_ranks(values, higher, "dense"), [[1, 1], [1, 2], [2, 3], [3, 3]]
    )
    np.testing.assert_array_equal(
        measures.metric_ranks(values, higher, "average"), [[1.5, 1], [1.5, 2], [3, 3.5], [4, 3.5]]
    )
    np.testing.assert_allclose(measures.mean_rank(values, higher, tasks), [1, 1.5, 3, 3.5])
    np.testing.assert_allclose(measures.mean_rank_metrics(values, higher), [1, 1.5, 2.5, 3])


def test_mean_rank_weighs_tasks_not_metrics() -> None:
    values = [[1.0, 1.0, 1.0], [2.0, 0.5, 0.5]]
    assert measures.mean_rank(values, [False] * 3, TASKS).tolist() == [1.5, 1.5]
    assert measures.mean_rank_metrics(values, [False] * 3).tolist() == pytest.approx([5 / 3, 4 / 3])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: measures.delta_m([1.0], [0.0], [True]), "is zero"),
        (lambda: measures.delta_m([1.0, 2.0], [1.0], [True]), "baseline and directions"),
        (lambda: measures.delta_mtm([1.0], [1.0], [True], ["A", "B"]), "2 task names"),
        (lambda: measures.metric_ranks([[1.0]], [True], "best"), "valid rules: min"),  # type: ignore[arg-type]
        (lambda: measures.jain_index([-1.0, 1.0]), "not negative"),
    ],
)
def test_errors_are_one_sentence(call, sentence: str) -> None:
    with pytest.raises(AnalysisError, match=sentence):
        call()


@given(shares)
def test_evenness_indices_stay_in_their_ranges(x: np.ndarray) -> None:
    if x.sum() < 1e-100 or (x[x > 0] < 1e-100).any():
        return
    assert 1 / x.size - 1e-9 <= measures.jain_index(x) <= 1 + 1e-9
    assert -1e-9 <= measures.gini(x) <= 1 - 1 / x.size + 1e-9


@given(shares)
def test_gini_is_the_mean_absolute_difference(x: np.ndarray) -> None:
    if x.sum() < 1e-100:
        return
    pairs = np.abs(x[:, None] - x[None, :]).sum()
    assert measures.gini(x) == pytest.approx(pairs / (2 * x.size * x.sum()), abs=1e-9)


def test_evenness_of_equal_and_of_one_sided_shares() -> None:
    assert measures.jain_index([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert measures.gini([2.0, 2.0, 2.0]) == pytest.approx(0.0)
    assert measures.jain_index([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert measures.gini([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.75)
    assert np.isnan(measures.jain_index([0.0, 0.0]))


@given(
    arrays(np.float64, (5, 3), elements=st.floats(0.1, 10.0)),
    arrays(np.float64, 3, elements=st.floats(0.1, 10.0)),
    st.floats(0.1, 100.0),
)
def test_delta_m_does_not_depend_on_units(v: np.ndarray, b: np.ndarray, unit: float) -> None:
    scale = np.array([unit, 1.0, 1 / unit])
    np.testing.assert_allclose(
        measures.delta_m(v * scale, b * scale, HIGHER), measures.delta_m(v, b, HIGHER), rtol=1e-9,
        atol=1e-9,
    )  # fmt: skip
