"""Pareto sets and hypervolume against brute force; distances and surfaces by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import AnalysisError, pareto

grid = st.integers(0, 5).map(float)


@st.composite
def points(draw: st.DrawFn) -> tuple[np.ndarray, list[bool]]:
    """Few small integers, so that ties and duplicates are common."""
    objectives = draw(st.integers(1, 4))
    count = draw(st.integers(1, 8))
    values = draw(arrays(np.float64, (count, objectives), elements=grid))
    higher = draw(st.lists(st.booleans(), min_size=objectives, max_size=objectives))
    return values, higher


def brute_force_nondominated(values: np.ndarray, higher: list[bool]) -> list[bool]:
    costs = np.where(higher, -values, values)
    return [
        not any((other <= own).all() and (other < own).any() for other in costs) for own in costs
    ]


def brute_force_hypervolume(values: np.ndarray, higher: list[bool]) -> float:
    """Counts the unit cells of the integer grid up to 6 that some point dominates."""
    costs = np.where(higher, 5 - values, values)
    cells = np.indices((6,) * values.shape[1]).reshape(values.shape[1], -1).T
    return float((cells[:, None, :] >= costs[None]).all(axis=2).any(axis=1).sum())


@given(points())
@settings(max_examples=150, deadline=None)
def test_nondominated_set_agrees_with_brute_force(case: tuple[np.ndarray, list[bool]]) -> None:
    values, higher = case
    assert pareto.nondominated(values, higher).tolist() == brute_force_nondominated(values, higher)


@given(points())
@settings(max_examples=100, deadline=None)
def test_hypervolume_agrees_with_counting_cells(case: tuple[np.ndarray, list[bool]]) -> None:
    values, higher = case
    reference = np.where(higher, -1.0, 6.0)
    assert pareto.hypervolume(values, reference, higher) == pytest.approx(
        brute_force_hypervolume(values, higher)
    )


@given(points(), points())
@settings(max_examples=100, deadline=None)
def test_distance_is_the_shift_that_changes_dominance(
    case: tuple[np.ndarray, list[bool]], other: tuple[np.ndarray, list[bool]]
) -> None:
    front, higher = case
    point = np.resize(other[0], (1, front.shape[1]))
    distance = float(pareto.distance_to_front(point, front, higher)[0])
    better = np.where(higher, 1.0, -1.0)

    def weakly_dominated(p: np.ndarray) -> bool:
        return bool(((front - p) * better >= -1e-9).all(axis=1).any())

    # Improved by its distance it is only just dominated, improved by more it is not.
    assert weakly_dominated(point + better * distance)
    assert not weakly_dominated(point + better * (distance + 0.01))


def test_hypervolume_of_many_objectives_is_estimated() -> None:
    for count in (9, 11):
        box = np.linspace(0.2, 0.6, count)
        found = pareto.hypervolume([1 - box], np.ones(count), [False] * count)
        assert found == pytest.approx(np.prod(box), rel=0.06)
    with pytest.raises(AnalysisError, match="at most 31 objectives, not 40"):
        pareto.hypervolume(np.zeros((1, 40)), np.ones(40), [False] * 40)


def test_distance_by_hand() -> None:
    front = [[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]]
    found = pareto.distance_to_front(
        [[3.0, 3.0], [2.0, 2.0], [1.5, 1.5], [3.0, 1.5]], front, [False, False]
    )
    np.testing.assert_allclose(found, [1.0, 0.0, -0.5, -0.5])


def test_missing_values_are_never_in_the_set() -> None:
    values = [[1.0, np.nan], [2.0, 2.0]]
    assert pareto.nondominated(values, [False, False]).tolist() == [False, True]


def test_front_of_a_table_is_sorted_and_respects_directions() -> None:
    table = pd.DataFrame({"acc": [0.9, 0.8, 0.7, 0.6], "err": [3.0, 2.0, 2.5, 1.0]})
    front = pareto.pareto_front(table, ["acc", "err"], [True, False])
    assert front["acc"].tolist() == [0.6, 0.8, 0.9]
    with pytest.raises(AnalysisError, match="no column f1"):
        pareto.pareto_front(table, ["f1"], [True])


def test_attainment_of_two_seeds() -> None:
    values = [[1.0, 3.0], [3.0, 1.0], [2.0, 4.0], [4.0, 2.0]]
    found = pareto.attainment(values, ["a", "a", "b", "b"], [False, False], (0.0, 100.0))
    best = found[found["percentile"] == 0.0][[0, 1]].to_numpy().tolist()
    every = found[found["percentile"] == 100.0][[0, 1]].to_numpy().tolist()
    assert sorted(best) == [[1.0, 3.0], [3.0, 1.0]]
    assert sorted(every) == [[2.0, 4.0], [4.0, 2.0]]
    with pytest.raises(AnalysisError, match="2 or 3 objectives"):
        pareto.attainment([[1.0]], ["a"], [False])


def test_reference_point_is_worse_than_every_point() -> None:
    values = np.array([[0.9, 3.0], [0.5, 1.0]])
    np.testing.assert_allclose(pareto.reference_point(values, [True, False]), [0.46, 3.2])


@pytest.mark.parametrize("call", [pareto.nondominated, pareto.reference_point])
def test_shapes_are_checked(call) -> None:
    with pytest.raises(AnalysisError, match="need the shape"):
        call([[1.0, 2.0]], [True])
