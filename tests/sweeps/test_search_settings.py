"""Objectives, budgets in seconds, warm starts, and what is refused before a search begins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from sweeps_fakes import (
    SEARCH_ONLY,
    SEVERAL,
    execute,
    hashed_value,
    make_plan,
    resolved_study,
    tuning,
)

from sweeps.definition.resolve import resolve
from sweeps.definition.spaces import simplex_weights
from sweeps.definition.study_file import parse_study
from sweeps.errors import StudyError
from sweeps.search.samplers import SAMPLERS

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
    study = resolved_study(**SEARCH_ONLY, sampler=name, budget={"trials": 8}, methods=["ls"])
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
    study = resolved_study(**SEARCH_ONLY, budget={"seconds": 1e6}, methods=["ls"])
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
