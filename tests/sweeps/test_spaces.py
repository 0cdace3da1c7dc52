"""Search spaces and designs on the simplex."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats
from sweeps_fakes import resolved_study

from sweeps.definition.simplex import lattice, sobol, weight_points
from sweeps.definition.spaces import Space, simplex_weights
from sweeps.definition.study import Choices, Constant, Range, Simplex, WeightSweep
from sweeps.errors import StudyError

TASKS = ("a", "b", "c")


def space(**hyperparameters: object) -> Space:
    return Space(hyperparameters, {"lr": Constant(0.1)}, TASKS)  # type: ignore[arg-type]


def test_a_point_becomes_settings() -> None:
    searched = Space(
        {"alpha": Range(1.0, 10.0, log=True), "mode": Choices(("x", "y")), "c": Constant(0.4)},
        {"lr": Range(1e-4, 1e-2, log=True), "dropout": Constant(0.0)},
        TASKS,
    )
    names = [dimension.name for dimension in searched.dimensions()]
    assert names == ["method.alpha", "method.mode", "training.lr"]
    found = searched.configuration({"method.alpha": 2.0, "method.mode": "y", "training.lr": 1e-3})
    assert found.hyperparameters == {"alpha": 2.0, "mode": "y", "c": 0.4}
    assert found.training == {"lr": 1e-3, "dropout": 0.0}


def test_optuna_samples_within_the_space() -> None:
    optuna = pytest.importorskip("optuna")
    searched = Space(
        {"n": Range(2, 5), "alpha": Range(1.0, 10.0, log=True), "w": Choices((None, [1, 2, 3]))},
        {},
        TASKS,
        integers=frozenset({"n"}),
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = [
        searched.configuration(study.ask(searched.distributions()).params).hyperparameters
        for _ in range(50)
    ]
    assert {found["n"] for found in seen} == {2, 3, 4, 5}
    assert all(isinstance(found["n"], int) and 1.0 <= found["alpha"] <= 10.0 for found in seen)
    assert {str(found["w"]) for found in seen} == {"None", "[1, 2, 3]"}


def test_choices_keep_their_types_apart() -> None:
    searched = space(x=Choices((True, 1, 1.0, "1", None)))
    dimension = searched.dimensions()[0]
    found = [
        searched.configuration({"method.x": v}).hyperparameters["x"] for v in dimension.choices
    ]
    assert [(type(value), value) for value in found] == [
        (bool, True),
        (int, 1),
        (float, 1.0),
        (str, "1"),
        (type(None), None),
    ]


def test_size_and_grid_of_finite_spaces() -> None:
    finite = Space(
        {"n": Range(1, 3), "mode": Choices(("x", "y"))},
        {},
        TASKS,
        integers=frozenset({"n"}),
    )
    points = list(finite.grid())
    assert finite.size == len(points) == 6
    assert len({tuple(sorted(point.items())) for point in points}) == 6
    assert space(c=Constant(1.0)).size == 1
    assert list(space(c=Constant(1.0)).grid()) == [{}]
    assert space(c=Range(0.0, 1.0)).size is None


def test_search_starts_at_defaults_that_lie_in_the_space() -> None:
    defaults = {"alpha": 2.0, "c": 0.4, "mode": "x"}
    searched = Space(
        {"alpha": Range(1.0, 10.0), "c": Range(0.5, 0.9), "mode": Choices(("x", "y"))},
        {"lr": Range(0.1, 0.2)},
        TASKS,
        defaults=defaults,
    )
    assert searched.start() == {"method.alpha": 2.0, "method.mode": "x"}


@pytest.mark.parametrize("tasks", [1, 2, 3, 11, 40])
def test_simplex_weights_are_positive_and_sum_to_the_number_of_tasks(tasks: int) -> None:
    generator = random.Random(tasks)
    for _ in range(20):
        weights = simplex_weights([generator.uniform(1e-6, 1 - 1e-6) for _ in range(tasks)])
        assert min(weights) > 0
        assert math.fsum(weights) == pytest.approx(tasks)


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_simplex_weights_are_uniform_on_the_simplex(tasks: int) -> None:
    # A coordinate of a uniform point of the simplex follows Beta(1, K - 1).
    generator = np.random.default_rng(0)
    draws = generator.uniform(size=(4000, tasks))
    first = [simplex_weights(list(row))[0] / tasks for row in draws]
    assert stats.kstest(first, stats.beta(1, tasks - 1).cdf).pvalue > 0.01


def test_equal_uniforms_are_equal_weights() -> None:
    assert simplex_weights([0.3] * 4) == pytest.approx([1.0] * 4)


def test_static_weights_can_be_searched_on_the_simplex() -> None:
    study = resolved_study(methods=[{"name": "ls", "weights": "simplex"}, "uw", "fairgrad"])
    searched = study.candidate("ls").space
    assert isinstance(searched.hyperparameters["weights"], Simplex)
    point = {"method.weights.CL": 0.5, "method.weights.RR": 0.5, "training.lr": 0.001}
    assert searched.configuration(point).hyperparameters["weights"] == {"CL": 1.0, "RR": 1.0}


# ------------------------------------------------------------------ designs


def test_lattice_of_two_tasks_is_evenly_spaced_inside() -> None:
    assert lattice(2, 3) == [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]


@pytest.mark.parametrize(("tasks", "points"), [(2, 9), (3, 6), (3, 10), (4, 20), (40, 40)])
def test_lattice_points_lie_inside_the_simplex(tasks: int, points: int) -> None:
    found = lattice(tasks, points)
    assert len(found) == len({tuple(point) for point in found}) == points
    assert all(min(point) > 0 and math.fsum(point) == pytest.approx(1) for point in found)


def test_a_number_that_no_lattice_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(StudyError, match="over 3 tasks has 6 or 10 points, not 7"):
        lattice(3, 7)


@pytest.mark.parametrize(("tasks", "points"), [(2, 5), (3, 7), (40, 50)])
def test_sobol_has_any_number_of_points(tasks: int, points: int) -> None:
    found = sobol(tasks, points, seed=3)
    assert len(found) == points
    assert all(min(point) > 0 and math.fsum(point) == pytest.approx(1) for point in found)
    assert found == sobol(tasks, points, seed=3) != sobol(tasks, points, seed=4)


def test_given_points_are_normalised() -> None:
    points = weight_points(WeightSweep(points=[[1.0, 3.0], [2.0, 0.0]]), ("CL", "RR"), 0)
    assert points == [{"CL": 0.25, "RR": 0.75}, {"CL": 1.0, "RR": 0.0}]
