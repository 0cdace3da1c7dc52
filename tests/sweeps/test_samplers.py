"""Samplers: that they learn, repeat nothing, and propose the same after an interruption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from sweeps.definition.spaces import Space
from sweeps.definition.study import Choices, Range, Sampler
from sweeps.search.designs import grid_points, grid_size, known_points, point_key, sobol_point
from sweeps.search.proposals import Proposals
from sweeps.search.samplers import SAMPLERS

LEARNING = ("tpe", "gp", "cmaes", "nsga2", "nsga3")
INDEPENDENT = ("random", "qmc")

FLOATS = Space({"a": Range(0.0, 1.0), "b": Range(0.0, 1.0)}, {"lr": Range(1e-4, 1.0, log=True)}, ())

SMALL = Space(
    {"n": Range(1, 4), "kind": Choices(("x", "y", "z"))},
    {"lr": Choices((0.1, 0.2))},
    (),
    integers=frozenset({"n"}),
)


def quadratic(point: Mapping[str, Any]) -> tuple[float, ...]:
    """Best at a = 0.3, b = 0.7, lr = 1e-3; higher is better."""
    a, b, lr = point["method.a"], point["method.b"], math.log10(point["training.lr"])
    return (-((a - 0.3) ** 2) - (b - 0.7) ** 2 - ((lr + 3.0) / 4.0) ** 2,)


def two_wishes(point: Mapping[str, Any]) -> tuple[float, ...]:
    """Best at a = 0 and at a = 1, both with b = 0.5 and lr = 1e-2."""
    a, b, lr = point["method.a"], point["method.b"], math.log10(point["training.lr"])
    rest = (b - 0.5) ** 2 + ((lr + 2.0) / 4.0) ** 2
    return (-(a**2) - rest, -((a - 1.0) ** 2) - rest)


def proposals(name: str, seed: int = 0, space: Space = FLOATS, **options: Any) -> Proposals:
    return Proposals("m", space, Sampler(name=name), seed, **options)


def search(
    name: str, count: int, seed: int = 0, judge: Any = quadratic, space: Space = FLOATS
) -> list[dict[str, Any]]:
    objectives = len(judge(proposals("random", space=space).propose(0)[0]))
    asking = proposals(name, seed, space, objectives=objectives)
    points = []
    for number in range(count):
        point, asked = asking.propose(number)
        asking.tell(asked, judge(point))
        points.append(point)
    return points


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


# ------------------------------------------------------------------ learning


@pytest.mark.parametrize("name", LEARNING)
def test_samplers_that_learn_propose_better_points_than_chance(name: str) -> None:
    count = 18 if name == "gp" else 60
    late = slice(count * 2 // 3, count)
    learned = [
        mean([quadratic(point)[0] for point in search(name, count, seed)[late]])
        for seed in range(2 if name == "gp" else 4)
    ]
    chance = [
        mean([quadratic(point)[0] for point in search("random", 60, seed)[20:]])
        for seed in range(4)
    ]
    assert mean(learned) > 0.6 * mean(chance)  # values are below 0


@pytest.mark.parametrize("name", [name for name, info in SAMPLERS.items() if info.several])
def test_samplers_for_several_objectives_serve_all_of_them(name: str) -> None:
    if name == "grid":
        return  # asked for nothing
    count = 12 if name == "gp" else 60
    points = search(name, count, judge=two_wishes)
    assert len({point_key(point) for point in points}) == count
    if name in LEARNING:
        late = [sum(two_wishes(point)) for point in points[count * 2 // 3 :]]
        chance = [sum(two_wishes(point)) for point in search("random", 60, judge=two_wishes)]
        # No point has a sum above -0.5.
        assert mean(late) + 0.5 > 0.8 * (mean(chance) + 0.5)


# ------------------------------------------------------------------ nothing twice


@pytest.mark.parametrize("name", [*LEARNING, *INDEPENDENT])
def test_nothing_is_proposed_twice(name: str) -> None:
    count = 10 if name == "gp" else 40
    points = search(name, count)
    assert len({point_key(point) for point in points}) == count


@pytest.mark.parametrize("name", ["tpe", "nsga2", "random", "qmc"])
def test_a_small_space_is_exhausted_without_repeating(name: str) -> None:
    assert SMALL.size == 24
    asking = proposals(name, space=SMALL)
    points = []
    for number in range(24):
        point, asked = asking.propose(number)
        asking.tell(asked, (float(point["method.n"]),))
        points.append(point_key(point))
    assert len(set(points)) == 24


def test_points_of_an_earlier_run_are_not_proposed_again() -> None:
    first, _ = proposals("random", space=SMALL).propose(0)
    again = proposals("random", space=SMALL)
    again.reserve([first])
    assert again.propose(0)[0] != first


# ------------------------------------------------------------------ interruptions


@pytest.mark.parametrize("name", [*LEARNING, *INDEPENDENT])
def test_an_interrupted_search_goes_on_with_the_same_proposals(name: str) -> None:
    for stop_after in (7,) if name == "gp" else (1, 7, 13):
        check_continuing(name, stop_after, 9 if name == "gp" else 18)


def check_continuing(name: str, stop_after: int, count: int) -> None:
    undisturbed = search(name, count)
    continued = proposals(name)
    for number, point in enumerate(undisturbed[:stop_after]):
        continued.tell(continued.repeat(number, point), quadratic(point))
    for number in range(stop_after, count):
        point, asked = continued.propose(number)
        assert point == undisturbed[number]
        continued.tell(asked, quadratic(point))


@pytest.mark.parametrize("name", INDEPENDENT)
def test_designs_depend_on_no_result(name: str) -> None:
    told = search(name, 12)
    asking = proposals(name)
    assert [asking.propose(number)[0] for number in range(12)] == told
    assert search(name, 12, seed=1) != told


def test_given_points_come_first_and_are_completed() -> None:
    given = [{"method.a": 0.25}, {"method.b": 0.5, "training.lr": 0.01}]
    for name in (*LEARNING, *INDEPENDENT):
        asking = proposals(name, given=given)
        points = [asking.propose(number)[0] for number in range(3)]
        assert points[0]["method.a"] == 0.25
        assert (points[1]["method.b"], points[1]["training.lr"]) == (0.5, 0.01)
        assert all(set(point) == {"method.a", "method.b", "training.lr"} for point in points)


def test_what_failed_and_what_was_stopped_teaches_the_state_that_it_had() -> None:
    asking = proposals("tpe")
    for number in range(3):
        _, asked = asking.propose(number)
        if number == 0:
            asking.fail(asked)
        elif number == 1:
            asking.prune(asked, -1.5, 4)
        else:
            asking.tell(asked, (-0.5,))
    trials = asking.study.trials
    assert [trial.state.name for trial in trials] == ["FAIL", "PRUNED", "COMPLETE"]
    assert trials[1].intermediate_values == {4: -1.5}


# ------------------------------------------------------------------ designs


def test_a_grid_has_every_combination_once_in_an_order_of_the_seed() -> None:
    sampler = Sampler(name="grid", points=3)
    points = grid_points(FLOATS, sampler, seed=0)
    assert len(points) == grid_size(FLOATS, sampler) == 27
    assert len({point_key(point) for point in points}) == 27
    assert {point["method.a"] for point in points} == {0.0, 0.5, 1.0}
    assert sorted({point["training.lr"] for point in points}) == pytest.approx([1e-4, 1e-2, 1.0])
    assert grid_points(FLOATS, sampler, seed=1) != points
    assert sorted(map(point_key, grid_points(FLOATS, sampler, seed=1))) == sorted(
        map(point_key, points)
    )


def test_a_grid_of_few_whole_numbers_has_each_once() -> None:
    assert grid_size(SMALL, Sampler(name="grid", points=100)) == 24
    assert {p["method.n"] for p in grid_points(SMALL, Sampler(name="grid"), 0)} == {1, 2, 3, 4}


def test_a_space_within_the_budget_needs_no_sampler() -> None:
    for name in ("tpe", "cmaes", "grid"):
        points = known_points(SMALL, Sampler(name=name), 24, seed=0)
        assert points == list(SMALL.grid())
    assert known_points(SMALL, Sampler(name="tpe"), 23, seed=0) is None
    assert known_points(FLOATS, Sampler(name="tpe"), None, seed=0) is None


def test_sobol_points_are_more_even_than_random_ones() -> None:
    """The largest deviation of a marginal distribution from the uniform one."""

    def discrepancy(points: Sequence[Mapping[str, Any]], name: str) -> float:
        values = sorted(
            (math.log10(p[name]) + 4) / 4 if name == "training.lr" else p[name] for p in points
        )
        count = len(values)
        return max(abs(value - (place + 0.5) / count) for place, value in enumerate(values))

    sobol = [sobol_point(FLOATS, 3, number) for number in range(64)]
    chance = search("random", 64)
    for name in sobol[0]:
        assert discrepancy(sobol, name) < 0.03 < discrepancy(chance, name)


def test_sobol_points_hit_choices_and_whole_numbers_equally_often() -> None:
    points = [sobol_point(SMALL, 0, number) for number in range(96)]
    for name, values in (("method.n", (1, 2, 3, 4)), ("training.lr", (0.1, 0.2))):
        counts = [sum(point[name] == value for point in points) for value in values]
        assert max(counts) - min(counts) <= 2
    kinds = [sum(point["method.kind"] == kind for point in points) for kind in ("x", "y", "z")]
    assert max(kinds) - min(kinds) <= 6


def test_every_sampler_says_what_it_is() -> None:
    assert set(SAMPLERS) == {*LEARNING, *INDEPENDENT, "grid"}
    assert all(info.summary for info in SAMPLERS.values())
