"""Population-based training: the rules, the generations of a study, and its place in the tables."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pruning_fakes import write
from sweeps_fakes import make_plan, resolved_study

from mtl_methods import make_method
from sweeps.commands.show import _composition
from sweeps.definition.study import Population
from sweeps.errors import StudyError
from sweeps.folder.tables import write_tables
from sweeps.phases.population import PopulationUnit
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from sweeps.search.population import (
    Line,
    Observation,
    first_generation,
    gaussian_process,
    next_generation,
)
from trainables.checkpoint import handover_path

# ------------------------------------------------------------------ rules


def lines(count: int = 8) -> list[Line]:
    made = first_generation(count, 3, [{"lr": 0.01 * i} for i in range(count)], seed=5)
    return [Line(m.course, m.training, m.seed, f"t{i}") for i, m in enumerate(made)]


def test_members_begin_with_equal_weights_and_cover_the_simplex() -> None:
    made = first_generation(32, 3, [{}] * 32, seed=0)
    assert made[0].weights == (1 / 3, 1 / 3, 1 / 3)
    weights = np.array([line.weights for line in made])
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert weights.mean(axis=0) == pytest.approx(1 / 3, abs=0.06)
    assert (weights.max(axis=0) > 0.7).all()
    assert len({line.seed for line in made}) == 32


@pytest.mark.parametrize("explore", ["pbt", "pb2"])
def test_the_worst_go_on_from_the_best_with_other_weights(explore: str) -> None:
    before = lines()
    values = [3.0, 1.0, 8.0, 5.0, 2.0, 7.0, 4.0, 6.0]
    seen = [Observation(0, line.weights, v) for line, v in zip(before, values, strict=True)]
    settings = Population(explore=explore, quantile=0.25)  # type: ignore[arg-type]
    after = next_generation(before, values, 3, settings, 0, seen)
    assert [after[i] is before[i] for i in range(8)] == [True, False] + [True] * 2 + [
        False, True, True, True,
    ]  # fmt: skip
    for member in (1, 4):
        new = after[member]
        donor = next(line for line in before if line.trial_id == new.trial_id)
        assert donor.trial_id in {"t2", "t5"}  # the two best
        assert (new.training, new.seed) == (donor.training, donor.seed)
        assert new.course[:-1] == donor.course
        assert new.course[-1][0] == 3
        assert math.fsum(new.weights) == pytest.approx(1.0)
        assert min(new.weights) > 0
        assert new.weights != donor.weights
    again = next_generation(before, values, 3, settings, 0, seen)
    assert [line.course for line in again] == [line.course for line in after]
    other = next_generation(before, values, 3, settings, 1, seen)
    assert [line.course for line in other] != [line.course for line in after]


def test_perturbed_weights_stay_near_and_resampled_ones_do_not() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]

    def moved(resample: float) -> list[float]:
        found = []
        for seed in range(60):
            settings = Population(noise=0.1, resample=resample)
            after = next_generation(lines(), values, 1, settings, seed, [])
            for member in (0, 1):
                new = after[member]
                donor = next(line for line in lines() if line.trial_id == new.trial_id)
                found.append(math.dist(new.weights, donor.weights))
        return found

    assert max(moved(0.0)) < 0.25
    assert np.median(moved(1.0)) > 0.25
    assert 0.1 < np.mean([distance > 0.25 for distance in moved(0.5)]) < 0.6


def test_members_that_came_to_nothing_are_replaced_whatever_the_quantile() -> None:
    values = [math.nan, 1.0, 2.0, math.nan, math.nan, 3.0, 4.0, 5.0]
    after = next_generation(lines(), values, 1, Population(), 0, [])
    assert {after[i].trial_id for i in (0, 3, 4, 1, 2)} <= {"t6", "t7"}
    assert [after[i].trial_id for i in (5, 6, 7)] == ["t5", "t6", "t7"]
    with pytest.raises(ValueError, match="no member is left"):
        next_generation(lines(), [math.nan] * 8, 1, Population(), 0, [])


def test_one_survivor_keeps_its_place() -> None:
    values = [math.nan, 1.0]
    after = next_generation(lines(2), values, 1, Population(), 0, [])
    assert after[1] == lines(2)[1]
    assert after[0].trial_id == "t1"


def test_the_gaussian_process_finds_where_gains_were_and_forgets() -> None:
    generator = np.random.default_rng(0)
    first = generator.uniform(0, 1, 40)
    points = np.column_stack([first, 1 - first])
    gains = -8 * (first - 0.3) ** 2 + 0.05 * generator.standard_normal(40)
    gains = (gains - gains.mean()) / gains.std()
    candidates = np.column_stack([np.linspace(0, 1, 101), 1 - np.linspace(0, 1, 101)])
    mean, deviation = gaussian_process(points, np.zeros(40), gains, candidates, 0.0)
    assert candidates[mean.argmax(), 0] == pytest.approx(0.3, abs=0.06)
    _, later = gaussian_process(points, np.zeros(40), gains, candidates, 50.0)
    assert (later > deviation).all()


# ------------------------------------------------------------------ in a study

CHANGES: dict[str, Any] = {
    "protocol": {"epochs": 7, "batch_size": 32},
    "population": {"size": 6, "interval": 2},
}


def last_weights(trial: Trial) -> tuple[float, float]:
    entry = trial.spec["method"]["hyperparameters"]["course"].split(";")[-1]
    first, second = map(float, entry.partition(":")[2].split())
    return first, second


def value_of(trial: Trial, epoch: int) -> float:
    """Weights near (0.5, 1.5) are best, later epochs better."""
    if trial.method != "ls_course":
        return -1.0
    return 0.1 * epoch - abs(last_weights(trial)[0] - 0.5)


def run(plan: Plan, results: Path, slots: int = 1, limit: int = 10_000) -> list[Trial]:
    started: list[Trial] = []
    running: list[Trial] = []
    ended = 0
    while ended < limit:
        while len(running) < slots and (trial := plan.next()) is not None:
            started.append(trial)
            running.append(trial)
        if not running:
            assert plan.finished
            break
        trial = running.pop(-1 if ended % 2 else 0)
        rows = [
            {"epoch": e, "selection": value_of(trial, e), "weight.CL": 1.0, "weight.RR": 1.0}
            for e in range(1, trial.epochs + 1)
        ]
        write(results, trial, rows, None)
        if trial.hand_on:
            path = handover_path(results, trial.trial_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"state")
        record = plan.ledger.read(trial.trial_id)
        assert record is not None
        plan.end(trial.trial_id, record)
        ended += 1
    return started


def of(plan: Plan) -> PopulationUnit:
    return next(unit for unit in plan.units if isinstance(unit, PopulationUnit))


@pytest.mark.parametrize("explore", ["pbt", "pb2"])
def test_generations_go_on_from_each_other(tmp_path: Path, explore: str) -> None:
    population = CHANGES["population"] | {"explore": explore}
    plan = make_plan(resolved_study(**CHANGES | {"population": population}), tmp_path)
    started = run(plan, tmp_path)
    assert plan.finished
    assert plan.blocked() == []
    own = [t for t in started if t.phase == "population"]
    assert Counter(t.epochs for t in own) == {2: 6, 4: 6, 6: 6, 7: 6}
    known = {t.trial_id: t for t in own}
    for trial in own:
        if trial.continues is None:
            assert trial.epochs == 2
            continue
        parent = known[trial.continues]
        course = trial.spec["method"]["hyperparameters"]["course"]
        before = parent.spec["method"]["hyperparameters"]["course"]
        assert course == before or course.startswith(f"{before}; {parent.epochs}: ")
        assert trial.seed == parent.seed
        assert trial.spec["training"] == parent.spec["training"]
    assert all(math.fsum(last_weights(t)) == pytest.approx(2.0) for t in own)
    # It learns: the best of the last generation is nearer to the optimum than the best at first.
    nearest = [
        min(abs(last_weights(t)[0] - 0.5) for t in own if t.epochs == epochs) for epochs in (2, 7)
    ]
    assert nearest[1] <= nearest[0]
    mean = [
        np.mean([abs(last_weights(t)[0] - 0.5) for t in own if t.epochs == epochs])
        for epochs in (2, 7)
    ]
    assert mean[1] < mean[0]


def test_the_best_course_is_replicated_with_fresh_seeds(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**CHANGES), tmp_path)
    started = run(plan, tmp_path)
    replicates = [t for t in started if t.variant == "pbt" and t.phase == "replicate"]
    assert [t.seed for t in replicates] == [1000, 1001]
    assert all(t.spec["evaluate_test"] and t.continues is None for t in replicates)
    assert "until" not in replicates[0].spec
    last = [t for t in started if t.phase == "population" and t.epochs == 7]
    best = max(last, key=lambda t: value_of(t, 7))
    assert replicates[0].spec["method"]["hyperparameters"] == best.spec["method"]["hyperparameters"]
    make_method("ls_course", **replicates[0].spec["method"]["hyperparameters"])
    write_tables(tmp_path, plan.ended)
    trials = pd.read_parquet(tmp_path / "trials.parquet")
    own = trials[trials["variant"] == "pbt"]
    assert Counter(own["phase"]) == {"population": 24, "replicate": 2}
    assert own.loc[own["phase"] == "replicate", "test.CL.accuracy"].notna().all()


def test_states_that_nobody_needs_any_more_are_removed(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**CHANGES), tmp_path)
    run(plan, tmp_path)
    assert list((tmp_path / "checkpoints").glob("*/handover.pt")) == []


def test_order_and_interruptions_change_nothing(tmp_path: Path) -> None:
    study = resolved_study(**CHANGES)
    whole = make_plan(study, tmp_path / "a")
    run(whole, tmp_path / "a")
    results = tmp_path / "b"
    for limit in (40, 7, 3, 9):
        run(make_plan(study, results), results, slots=4, limit=limit)
    again = make_plan(study, results)
    run(again, results, slots=4)
    ids = [{t.trial_id for t, _ in plan.ended if t.variant == "pbt"} for plan in (whole, again)]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 26


def test_check_counts_its_replicates_in_words(tmp_path: Path) -> None:
    both = {"population": {"size": 3, "interval": 1, "seeds": 4}, "replicate": {"seeds": 2}}
    several = {
        "replicate": {"seeds": 2, "max_configurations": 3},
        "objectives": ["delta_m", "delta_m_variance"],
    }
    for changes, words, planned in (
        (both, "3 methods × 2 seeds + pbt × 4 seeds", 10),
        (several, "3 methods × 2 seeds × up to 3 configurations", 18),
        (both | {"replicate": None, "fixed_weights": None}, "pbt × 4 seeds", 4),
        (both | {"population": {"interval": 1}}, "3 methods × 2 seeds + pbt × 2 seeds", 8),
    ):
        study = resolved_study(**changes)
        assert _composition(study, "replicate") == words
        assert make_plan(study, tmp_path).counts()["replicate"].planned == planned


def test_the_population_has_as_many_members_as_a_method_has_trials() -> None:
    study = resolved_study(population={}, budget={"trials": 5, "seeds": 2})
    assert study.population_size == 10
    assert resolved_study(population=True).study.population == Population()
    assert resolved_study(population={"size": 4}).population_size == 4


def test_members_draw_from_the_search_space(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**CHANGES), tmp_path)
    started = run(plan, tmp_path)
    rates = {t.spec["training"]["lr"] for t in started if t.phase == "population" and t.epochs == 2}
    assert len(rates) == 6
    assert all(5e-4 <= rate <= 1e-2 for rate in rates)


def test_a_population_of_which_nobody_is_left_is_left_out(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**CHANGES), tmp_path)
    original = plan.ledger.read

    def read(trial_id: str) -> Any:
        record = original(trial_id)
        if record is not None and record.summary["phase"] == "population":
            object.__setattr__(record, "summary", {**record.summary, "status": "diverged"})
        return record

    plan.ledger.read = read  # type: ignore[method-assign]
    run(plan, tmp_path)
    assert plan.finished
    assert len(of(plan)._records) == 6
    assert "none of the 6 members of pbt finished" in plan.blocked()[0]
    assert plan.counts()["population"].left_out == 18


@pytest.mark.parametrize(
    ("population", "expected"),
    [
        ({"interval": 7}, "population.interval: after 7 of 7 epochs nothing is left"),
        ({"label": "uw"}, "population.label: 'uw' is the label of a method already"),
        ({"quantile": 0.6}, "population.quantile: 0.6 is not valid"),
        ({"explore": "pb3"}, "population.explore: 'pb3' is not valid"),
    ],
)
def test_what_does_not_fit_is_refused(population: dict[str, Any], expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        resolved_study(protocol=CHANGES["protocol"], population=population)
    assert expected in str(caught.value)
