"""Objectives, budgets in seconds, warm starts, and what is refused before a search begins."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from sweeps_fakes import (
    execute,
    hashed_value,
    make_plan,
    resolved_study,
    write_fake_record,
)

from sweeps.definition.resolve import resolve
from sweeps.definition.spaces import simplex_weights
from sweeps.definition.study_file import parse_study
from sweeps.errors import StudyError
from sweeps.phases.tuning import Tuning
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from sweeps.search.front import chosen, nondominated
from sweeps.search.front_table import write_front
from sweeps.search.objectives import MEASURES, make_objectives
from sweeps.search.samplers import SAMPLERS

SEVERAL: dict[str, Any] = {
    "objectives": ["CL.accuracy", "RR.mse"],
    "budget": {"trials": 12},
    "replicate": {"seeds": 2, "max_configurations": 3},
}


def tuning(plan: Plan, variant: str) -> Tuning:
    return plan.context.tunings[variant]


# ------------------------------------------------------------------ objectives


class Point:
    def __init__(self, number: int, *values: float) -> None:
        self.number, self.values = number, values


def numbers(points: list[Point]) -> list[int]:
    return [point.number for point in points]


def test_the_front_is_what_nothing_else_covers() -> None:
    points = [
        Point(0, 1.0, 0.0),
        Point(1, 0.0, 1.0),
        Point(2, 0.4, 0.4),
        Point(3, 0.3, 0.4),  # covered by 2
        Point(4, 1.0, 0.0),  # equal to 0, which came first
        Point(5, 0.6, 0.6),  # covers 2
    ]
    assert numbers(nondominated(points)) == [0, 1, 5]
    assert numbers(nondominated([Point(n, v) for n, v in enumerate([1.0, 3.0, 3.0])])) == [1]


def test_the_knee_is_nearest_to_the_best_of_everything() -> None:
    front = [Point(0, 0.0, 1.0), Point(1, 0.8, 0.7), Point(2, 1.0, 0.0)]
    assert numbers(chosen(front, "knee")) == [1]
    assert numbers(chosen(front, "first")) == [2]
    # The scale of an objective does not matter, and the ends of a front are equally far.
    stretched = [Point(p.number, 1000 * p.values[0], p.values[1]) for p in front]
    assert numbers(chosen(stretched, "knee")) == [1]
    assert numbers(chosen([front[0], front[2]], "knee")) == [2]


def test_further_configurations_cover_the_front() -> None:
    front = [Point(n, n / 10, (10 - n) / 10) for n in range(11)]
    assert numbers(chosen(front, "first", 3)) == [10, 0, 5]
    assert len(chosen(front, "knee", 99)) == 11
    assert chosen([], "knee", 2) == []


def metrics(trial: Trial) -> tuple[float, float]:
    """Accuracy rises and error falls with the learning rate: a real trade-off."""
    place = (math.log10(trial.spec["training"]["lr"]) - math.log10(5e-4)) / math.log10(20)
    return 0.8 + 0.1 * place, 0.02 + 0.05 * place**2


def execute_with_metrics(plan: Plan, results: Path) -> list[Trial]:
    started = []
    while (trial := plan.next()) is not None:
        started.append(trial)
        accuracy, error = metrics(trial)
        write_fake_record(
            results, trial, value=accuracy, metrics={"CL.accuracy": accuracy, "RR.mse": error}
        )
        record = plan.ledger.read(trial.trial_id)
        assert record is not None
        plan.end(trial.trial_id, record)
    assert plan.finished
    return started


def test_several_objectives_are_told_and_several_configurations_replicated(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**SEVERAL), tmp_path)
    started = execute_with_metrics(plan, tmp_path)
    search = tuning(plan, "fairgrad")
    told = search.proposals.study.trials
    assert [len(trial.values) for trial in told] == [2] * 12
    for attempt, trial in zip(search.attempts, told, strict=True):
        accuracy, error = metrics(attempt.results[0][0])
        assert trial.values == pytest.approx([accuracy, -error])
    assert len(search.front) == 12  # a better accuracy always costs error here
    labels = {t.variant for t in started if t.phase == "replicate"}
    assert labels == {f"{m}{n}" for m in ("ls", "uw", "fairgrad") for n in ("", "/2", "/3")}
    rates = {
        label: {
            t.spec["training"]["lr"]
            for t in started
            if t.phase == "replicate" and t.variant == label
        }
        for label in ("fairgrad", "fairgrad/2", "fairgrad/3")
    }
    assert all(len(rate) == 1 for rate in rates.values())
    assert len(set.union(*rates.values())) == 3
    # Fixed weights come from the best configuration alone; single-task models have one objective.
    assert {t.source_method for t in started if t.phase == "fixed_weights"} == {"fairgrad"}
    assert len(tuning(plan, "stl:CL").proposals.study.directions) == 1


def test_the_front_of_a_search_is_a_table(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**SEVERAL), tmp_path)
    execute_with_metrics(plan, tmp_path)
    write_front(tmp_path, plan)
    with (tmp_path / "search_front.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["variant"] == "fairgrad"]
    assert len(rows) == 12
    assert [row["replicated_as"] for row in rows if row["replicated_as"]].count("fairgrad") == 1
    assert {row["replicated_as"] for row in rows} >= {"fairgrad/2", "fairgrad/3"}
    assert all(float(row["RR.mse"]) > 0 for row in rows)  # as defined, not with its sign turned
    accuracies = [float(row["CL.accuracy"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {"hp.alpha", "training.lr", "configuration_id", "number"} <= set(rows[0])


def test_fewer_configurations_than_asked_for_are_nothing_missing(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**SEVERAL | {"budget": {"trials": 2}}), tmp_path)
    execute_with_metrics(plan, tmp_path)
    count = plan.counts()["replicate"]
    assert count.left_out == 0
    assert count.planned == count.ended == 3 * 2 * 2


def test_a_single_other_objective_decides(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(objectives=["RR.mse"], budget={"trials": 6}), tmp_path)
    execute_with_metrics(plan, tmp_path)
    search = tuning(plan, "uw")
    best = search.best()
    assert best is not None
    rates = [attempt.configuration.training["lr"] for attempt in search.attempts]
    assert best.configuration.training["lr"] == min(rates)  # the selection measure says the highest


def test_measures_are_those_of_the_tables(tmp_path: Path) -> None:
    study = resolved_study()
    plan = make_plan(study, tmp_path)
    execute_with_metrics(plan, tmp_path)
    trial, record = next((t, r) for t, r in plan.ended if t.phase == "search")
    values, reference = record.summary["validation"], trial.spec["reference"]
    gain = values["CL.accuracy"] / reference["CL"]["accuracy"] - 1
    drop = values["RR.mse"] / reference["RR"]["mse"] - 1
    found = {
        goal.name: goal.value(trial, record)
        for goal in make_objectives(list(MEASURES), "delta_mtm", study.tasks)
    }
    assert found["delta_m"] == pytest.approx(50 * (drop - gain))
    assert found["delta_mtm"] == pytest.approx(50 * (gain - drop))
    assert found["delta_m_variance"] == pytest.approx((50 * (drop + gain)) ** 2)
    assert found["worst_drop"] == pytest.approx(100 * max(drop, -gain))
    assert 0.5 <= found["jain_index"] <= 1.0
    assert 0.0 <= found["gini"] <= 0.5


# ------------------------------------------------------------------ budgets in seconds

SECONDS: dict[str, Any] = {
    "baselines": None,
    "selection": "loss",
    "fixed_weights": None,
    "weight_sweep": None,
}


@pytest.mark.parametrize("slots", [1, 3])
def test_every_method_gets_the_same_seconds(tmp_path: Path, slots: int) -> None:
    # A fake trial takes a second.
    study = resolved_study(**SECONDS, budget={"seconds": 6.5, "seeds": 2})
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path, slots=slots)
    assert plan.finished
    for variant in ("ls", "uw", "fairgrad"):
        spent = tuning(plan, variant).spent
        # What was begun before the seconds were used up is trained to its end.
        assert 8.0 <= spent <= 8.0 + 2 * (slots - 1)
    counts = plan.counts()
    assert counts["search"].planned == counts["search"].ended
    assert counts["replicate"].ended == 6


def test_trials_and_seconds_end_a_search_whichever_is_first(tmp_path: Path) -> None:
    for name, budget, expected in (
        ("a", {"trials": 3, "seconds": 100.0}, 3),
        ("b", {"trials": 30, "seconds": 4.0}, 4),
    ):
        plan = make_plan(resolved_study(**SECONDS, budget=budget), tmp_path / name)
        execute(plan, tmp_path / name)
        assert plan.finished
        assert [len(tuning(plan, m).attempts) for m in ("ls", "uw", "fairgrad")] == [expected] * 3


@pytest.mark.parametrize("space", [{"lr": {"low": 0.001, "high": 0.01}}, {"lr": [0.001, 0.01]}])
def test_a_search_in_seconds_goes_on_after_an_interruption(
    tmp_path: Path, space: dict[str, Any]
) -> None:
    study = resolved_study(
        **SECONDS, budget={"seconds": 5.0}, search_space=space, methods=["ls", "cagrad"]
    )
    whole = make_plan(study, tmp_path / "a")
    execute(whole, tmp_path / "a", slots=2)
    for stop_after in (3, 9):
        results = tmp_path / f"b{stop_after}"
        execute(make_plan(study, results), results, slots=2, limit=stop_after)
        again = make_plan(study, results)
        ended = {path.stem for path in (results / "ledger").iterdir()}
        execute(again, results, slots=2)
        assert again.finished
        assert ended <= {trial.trial_id for trial, _ in again.ended}
        assert execute(make_plan(study, results), results) == []


def test_a_small_space_is_gone_through_once_however_many_seconds_there_are(tmp_path: Path) -> None:
    study = resolved_study(
        **SECONDS, budget={"seconds": 1000.0}, search_space={"lr": [0.1, 0.2]}, methods=["ls"]
    )
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path)
    assert len(tuning(plan, "ls").attempts) == 2


# ------------------------------------------------------------------ samplers in a study


@pytest.mark.parametrize("name", ["grid", "random", "qmc"])
@pytest.mark.parametrize("slots", [1, 3])
def test_samplers_that_heed_no_result_propose_the_same_in_any_order(
    tmp_path: Path, name: str, slots: int
) -> None:
    sampler = {"name": "grid", "points": 2} if name == "grid" else name
    study = resolved_study(sampler=sampler, budget={"trials": 8})
    undisturbed = make_plan(study, tmp_path / "a")
    execute(undisturbed, tmp_path / "a")
    results = tmp_path / "b"
    for stop_after in (9, 7, 11):
        execute(make_plan(study, results), results, slots=slots, limit=stop_after)
    last = make_plan(study, results)
    execute(last, results, slots=slots)
    assert {t.trial_id for t, _ in last.ended} == {t.trial_id for t, _ in undisturbed.ended}


def test_a_grid_is_searched_in_full(tmp_path: Path) -> None:
    study = resolved_study(sampler={"name": "grid", "points": 2}, budget={"trials": 20})
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path)
    assert [len(tuning(plan, m).attempts) for m in ("ls", "uw", "fairgrad")] == [2, 2, 4]


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in ("grid", "gp")])
def test_a_study_runs_with_every_sampler(tmp_path: Path, name: str) -> None:
    plan = make_plan(resolved_study(sampler=name, budget={"trials": 6}), tmp_path)
    execute(plan, tmp_path, slots=2)
    assert plan.finished
    assert len(tuning(plan, "fairgrad").attempts) == 6


# ------------------------------------------------------------------ warm starts


def test_papers_say_where_a_search_begins() -> None:
    study = resolved_study(
        problem={"name": "multi_mnist", "tasks": "CL_RR"},
        methods=[
            "ls",
            {"name": "cagrad", "c": [0.2, 0.5, 0.8]},
            {"name": "cdtt", "alpha": {"low": 0.3, "high": 1.0}},
            {"name": "famo", "w_lr": 0.01},
            "uw",
        ],
        search_space={
            "lr": {"low": 5e-4, "high": 0.002, "log": True},
            "dropout": {"low": 0.0, "high": 0.5},
        },
        fixed_weights=None,
        start_from="papers",
    )
    points = {c.variant: c.start_from for c in study.candidates}
    assert points["ls"] == ({"training.lr": 0.001, "training.dropout": 0.0},)
    assert points["cagrad"][0]["method.c"] == 0.8
    assert points["cdtt"][0]["method.alpha"] == 0.3
    assert points["cdtt"][0]["training.lr"] == 0.002
    said = "\n".join(study.notes)
    assert "cdtt starts with alpha = 0.3, the end of its range, instead of the 0.2 of" in said
    assert "cdtt starts with lr = 0.002, the end of its range" in said
    assert "cagrad does not start with c = 0.4 of CAGrad, section 5" in said
    assert "famo starts with w_lr = 0.01, which the study holds" in said


def test_papers_of_other_problems_say_nothing_but_what_they_say_of_all() -> None:
    study = resolved_study(methods=["ls", "fairgrad"], start_from="papers")
    points = {c.variant: c.start_from for c in study.candidates}
    assert points == {"ls": (), "fairgrad": ({"method.alpha": 2.0},)}


def test_every_paper_entry_names_methods_and_settings_that_exist() -> None:
    from mtl_methods.registry import method_info
    from sweeps.definition.resolved import TRAINING_PARAMETERS
    from sweeps.search.warm_starts import paper_entries
    from trainables.problems import list_problems, make_problem

    for entry in paper_entries():
        assert entry["source"]
        if entry.get("problem"):
            assert entry["problem"] in list_problems()
            make_problem(entry["problem"], **(entry.get("options") or {}))
        for name, settings in entry["methods"].items():
            declared = {p.name: p for p in method_info(name).hyperparameters}
            for key, value in settings.items():
                if key in TRAINING_PARAMETERS:
                    assert value >= 0
                else:
                    declared[key].validate(value, name)


def test_named_configurations_come_first(tmp_path: Path) -> None:
    study = resolved_study(
        methods=[{"name": "ls", "weights": "simplex"}, "fairgrad"],
        start_from=[
            {"method": "fairgrad", "name": "greedy", "alpha": 1.5, "lr": 0.005},
            {"method": "ls", "weights": {"CL": 0.5, "RR": 1.5}},
        ],
    )
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path)
    first, second = tuning(plan, "fairgrad").attempts[:2]
    assert first.point == {"method.alpha": 1.5, "training.lr": 0.005}
    assert second.point["method.alpha"] == 2.0  # the method's default
    weights = tuning(plan, "ls").attempts[0].configuration.hyperparameters["weights"]
    assert weights == pytest.approx({"CL": 0.5, "RR": 1.5})


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (
            {"method": "fairgard", "alpha": 2.0},
            "did you mean 'fairgrad'?); valid: ls, uw, fairgrad",
        ),
        ({"method": "fairgrad", "alpha": 20.0}, "start_from.0.alpha: 20.0 is outside the range"),
        ({"method": "fairgrad", "beta": 2.0}, "start_from.0.beta: fairgrad has no setting 'beta'"),
        ({"method": "fairgrad", "dropout": 0.5}, "because the study holds dropout of fairgrad at"),
        ({"method": "fairgrad"}, "start_from.0: it names no setting"),
    ],
)
def test_named_configurations_must_fit(named: dict[str, Any], expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        resolved_study(start_from=[named])
    assert expected in str(caught.value)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sampler": "tpee"}, "there is no sampler 'tpee' (did you mean 'tpe'?)"),
        (
            {"sampler": "cmaes", "search_space": {"lr": [0.1, 0.2, 0.3, 0.4]}},
            "serves ranges of numbers only, and training.lr of ls is a list of choices",
        ),
        (
            {"sampler": "cmaes", "objectives": ["delta_m", "worst_drop"]},
            "cmaes serves a single objective, and objectives names 2",
        ),
        ({"sampler": {"name": "grid"}}, "the grid of ls has 5 points, more than 3; give at least"),
        (
            {
                "sampler": {"name": "grid"},
                "budget": {"trials": 99},
                "methods": [{"name": "ls", "weights": "simplex"}, "fairgrad"],
            },
            "grid cannot cut the simplex of weights of ls",
        ),
        ({"sampler": {"name": "tpe", "population": 5}}, "samplers that have: cmaes, nsga2, nsga3"),
        ({"objectives": ["delta"]}, "objectives.0: there is no measure 'delta'"),
        ({"objectives": ["delta_m", "delta_m"]}, "objectives.1: 'delta_m' is there twice"),
        (
            {"objectives": ["delta_m"], "baselines": None, "selection": "loss"},
            "objectives: delta_m compares with single-task models; add 'baselines: {}'",
        ),
        ({"replicate": {"seeds": 1, "choose": "knee"}}, "name at least two under objectives"),
        ({"scheduler": "asah"}, "there is no scheduler 'asah' (did you mean 'asha'?)"),
        (
            {"scheduler": {"name": "median", "reduction": 2}},
            "scheduler.reduction: median has no reduction; valid: grace_epochs, min_trials",
        ),
        (
            {"scheduler": {"name": "asha", "min_trials": 2}},
            "scheduler.min_trials: asha has no min_trials; valid: grace_epochs, reduction",
        ),
        (
            {"scheduler": {"name": "asha", "grace_epochs": 9}, "protocol": {"epochs": 9}},
            "scheduler.grace_epochs: after 9 of 9 epochs there is nothing to stop early",
        ),
        (
            {"sampler": {"name": "random", "startup_trials": 9}},
            "sampler.startup_trials: random has no startup_trials; samplers that have: tpe, gp",
        ),
        (
            {"population": {"explore": "pb2", "noise": 0.5}, "protocol": {"epochs": 2}},
            "population.noise: pb2 has no noise; explorers that have: pbt",
        ),
        (
            {"methods": ["ls", {"name": "fairgrad", "alpha": math.inf}]},
            "methods.1.alpha: inf is not a finite number",
        ),
        (
            {"methods": ["ls", {"name": "fairgrad", "alpha": [1.0, math.inf]}]},
            "methods.1.alpha: inf is not a finite number",
        ),
        (
            {"problem": {"name": "toy", "scale": math.inf}},
            "problem.scale: inf is not a finite number",
        ),
        (
            {"start_from": "paper"},
            "start_from: 'paper' is not valid; it should be 'papers' or a list of configurations",
        ),
        ({"start_from": [{"alpha": 2.0}]}, "start_from.0: the key 'method' is missing"),
        (
            {"start_from": ["fairgrad"]},
            "start_from.0: 'fairgrad' is not valid; it should be a mapping with the keys method",
        ),
        ({"a[b": 1}, "unknown key 'a[b'; valid keys: name"),
        ({"int": 1}, "unknown key 'int'; valid keys: name"),
        ({"sampler": {1: 2}}, "sampler: the key 1 is not valid; a key should be a text"),
        ({"budget": {"seeds": 2}}, "budget: a search needs trials"),
        ({"budget": {"seconds": 0.0}}, "budget.seconds: 0.0 is not valid"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        resolved_study(**changes)
    assert expected in str(caught.value)


@pytest.mark.parametrize("key", ["objectives", "start_from", "scheduler"])
def test_what_concerns_a_search_needs_one(key: str) -> None:
    value = {"objectives": ["RR.mse"], "start_from": "papers", "scheduler": "asha"}[key]
    with pytest.raises(StudyError, match=rf"^{key}: .*add budget"):
        resolved_study(budget=None, search_space={"lr": 0.001}, **{key: value})


def test_a_sampler_without_its_package_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"cmaes needs the package cmaes; .*fairsweep\[cmaes\]"):
        resolved_study(sampler="cmaes")


@pytest.mark.parametrize(("name", "eager"), [("tpe", False), ("random", True), ("qmc", True)])
def test_only_samplers_that_learn_wait_for_results(tmp_path: Path, name: str, eager: bool) -> None:
    study = resolved_study(**SECONDS, sampler=name, budget={"trials": 8}, methods=["ls"])
    plan = make_plan(study, tmp_path)
    assert plan.next() is not None
    assert tuning(plan, "ls").eager is eager


def test_cmaes_takes_lists_that_are_gone_through_in_full() -> None:
    resolved_study(
        sampler="cmaes", search_space={"lr": [0.1, 0.2]}, methods=["ls"], fixed_weights=None
    )


def test_results_of_the_default_objective_are_those_of_hashing(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path)
    best = tuning(plan, "uw").best()
    assert best is not None
    means = [
        math.fsum(hashed_value(t)[1] for t, _ in attempt.results) / 2
        for attempt in tuning(plan, "uw").attempts
    ]
    assert best.value == pytest.approx(max(means))
    assert simplex_weights([0.5, 0.5]) == [1.0, 1.0]


def test_a_method_that_always_fails_does_not_ask_for_ever(tmp_path: Path) -> None:
    study = resolved_study(**SECONDS, budget={"seconds": 1e6}, methods=["ls"])
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path, lambda trial: ("failed", math.nan))
    assert plan.finished
    assert len(tuning(plan, "ls").attempts) == 20
    assert plan.counts()["search"].planned == 20


def test_a_study_as_run_says_all_that_it_was_given() -> None:
    study = resolved_study(
        **SEVERAL | {"budget": {"trials": 3, "seconds": 9.5, "hours": 2.0}},
        sampler={"name": "nsga2", "population": 4},
        scheduler={"name": "median", "min_trials": 2},
        start_from=[{"method": "fairgrad", "name": "mine", "alpha": 2.5}],
        sensitivity=[{"method": "uw", "parameter": "lr", "values": [0.001]}],
        population={"interval": 1, "explore": "pb2"},
    )
    again = resolve(parse_study(study.as_run))
    assert again.as_run == study.as_run
    assert again.study_hash == study.study_hash
    assert again.study.budget == study.study.budget
    assert again.candidates[2].start_from == study.candidates[2].start_from
    assert again.study.population == study.study.population
