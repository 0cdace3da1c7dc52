"""Points of the simplex: uniform where they are random, even where they are designed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sweeps_fakes import resolved_study

from sweeps.definition.simplex import lattice, sobol
from sweeps.definition.spaces import Space, simplex_weights
from sweeps.definition.study import Constant, Sampler, Simplex
from sweeps.search.designs import sobol_point
from sweeps.search.proposals import Proposals


def drawn(tasks: int, count: int) -> np.ndarray:
    """Weights of a search over the simplex by the random sampler, summing to 1."""
    names = tuple("abcdefgh"[:tasks])
    space = Space({"weights": Simplex()}, {"lr": Constant(0.1)}, names)
    asking = Proposals("ls", space, Sampler(name="random"), 0)
    found = []
    for number in range(count):
        configuration = space.configuration(asking.propose(number)[0])
        found.append(list(configuration.hyperparameters["weights"].values()))
    return np.array(found) / tasks


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_random_weights_are_uniform_on_the_simplex(tasks: int) -> None:
    weights = drawn(tasks, 400)
    assert weights.sum(axis=1) == pytest.approx(1.0)
    # On a uniform simplex every weight has the distribution Beta(1, K - 1), and the sum of the
    # first two Beta(2, K - 2): normalised uniform numbers have neither.
    for column in weights.T:
        assert stats.kstest(column, stats.beta(1, tasks - 1).cdf).pvalue > 0.01
    if tasks > 2:
        pair = weights[:, :2].sum(axis=1)
        assert stats.kstest(pair, stats.beta(2, tasks - 2).cdf).pvalue > 0.01


def test_normalised_uniform_numbers_would_not_pass() -> None:
    uniforms = np.random.default_rng(0).uniform(size=(400, 3))
    weights = uniforms / uniforms.sum(axis=1, keepdims=True)
    assert stats.kstest(weights[:, 0], stats.beta(1, 2).cdf).pvalue < 1e-3


def test_weights_are_minus_the_logarithms_of_uniform_numbers() -> None:
    weights = simplex_weights([math.exp(-1.0), math.exp(-2.0), math.exp(-5.0)])
    assert weights == pytest.approx([3 / 8, 6 / 8, 15 / 8])


@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_sobol_weights_are_more_even_than_random_ones(tasks: int) -> None:
    def error(points: np.ndarray) -> float:
        """Largest gap between the marginal distributions and those of a uniform simplex."""
        return max(
            float(stats.kstest(column, stats.beta(1, tasks - 1).cdf).statistic)
            for column in points.T
        )

    designed = error(np.array(sobol(tasks, 64, seed=1)))
    generator = np.random.default_rng(0)
    random = [error(generator.dirichlet(np.ones(tasks), 64)) for _ in range(20)]
    assert designed < min(0.12, float(np.median(random)))


def test_sobol_weights_depend_on_the_seed_and_nothing_else() -> None:
    assert sobol(3, 10, seed=4) == sobol(3, 10, seed=4) != sobol(3, 10, seed=5)
    # More points begin with the same ones.
    assert sobol(3, 16, seed=4)[:10] == sobol(3, 10, seed=4)


@pytest.mark.parametrize(("tasks", "divisions"), [(2, 8), (3, 6), (4, 7), (11, 12)])
def test_a_lattice_is_das_and_dennis_without_its_border(tasks: int, divisions: int) -> None:
    size = math.comb(divisions - 1, tasks - 1)
    points = lattice(tasks, size)
    parts = {tuple(round(weight * divisions) for weight in point) for point in points}
    assert len(points) == len(parts) == size
    assert all(min(part) >= 1 and sum(part) == divisions for part in parts)
    assert np.array(points).mean(axis=0) == pytest.approx(1 / tasks)
    # It is as good for every order of the tasks.
    for order in itertools.islice(itertools.permutations(range(tasks)), 24):
        assert {tuple(part[k] for k in order) for part in parts} == parts
    # Every point has a neighbour one step away: one part given from one task to another.
    if size > 1:
        gaps = np.abs(np.array(points)[:, None] - np.array(points)[None]).sum(-1)
        np.fill_diagonal(gaps, np.inf)
        assert gaps.min(axis=1) == pytest.approx(2 / divisions)


def test_designs_of_a_study() -> None:
    for design, points in (("lattice", 7), ("sobol", 12)):
        study = resolved_study(weight_sweep={"points": points, "design": design})
        assert len(study.points) == points
        assert all(math.fsum(point.values()) == pytest.approx(1.0) for point in study.points)


def test_quasi_random_searches_cover_the_simplex_too() -> None:
    space = Space({"weights": Simplex()}, {"lr": Constant(0.1)}, ("a", "b", "c"))
    weights = np.array(
        [
            list(space.configuration(sobol_point(space, 2, n)).hyperparameters["weights"].values())
            for n in range(64)
        ]
    )
    for column in weights.T / 3:
        assert stats.kstest(column, stats.beta(1, 2).cdf).statistic < 0.12
