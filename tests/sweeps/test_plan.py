"""The plan: sizes, dependencies, what is told to the sampler, and continuing without repeating."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from sweeps_fakes import (
    execute,
    hashed_value,
    make_plan,
    resolved_study,
    sizes,
    tuning,
)

from sweeps.errors import SweepFailedError
from sweeps.planning.trials import Trial

# ------------------------------------------------------------------ sizes


def test_sizes_of_the_phases(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    assert sizes(plan) == {
        "baselines": 2 * (3 * 2 + 2),
        "search": 3 * 3 * 2,
        "replicate": 3 * 2,
        "fixed_weights": 2,
        "weight_sweep": 3,
    }
    started = execute(plan, tmp_path)
    assert len(started) == sum(sizes(plan).values())
    assert len({trial.trial_id for trial in started}) == len(started)


def test_every_method_gets_the_same_budget(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    started = execute(plan, tmp_path)
    counts = {
        variant: sum(t.phase == "search" and t.variant == variant for t in started)
        for variant in ("ls", "uw", "fairgrad")
    }
    assert set(counts.values()) == {6}


def test_phases_are_optional(tmp_path: Path) -> None:
    study = resolved_study(
        baselines=None, selection="loss", replicate=None, fixed_weights=None, weight_sweep=None
    )
    assert sizes(make_plan(study, tmp_path)) == {"search": 18}


def test_a_finite_space_is_searched_once_in_full(tmp_path: Path) -> None:
    study = resolved_study(
        search_space={"lr": [0.001, 0.002]},
        methods=["ls", {"name": "fairgrad", "alpha": [1.0, 2.0]}],
        fixed_weights=None,
        budget={"trials": 5},
    )
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path)
    points = [attempt.point for attempt in tuning(plan, "fairgrad").attempts]
    assert len(points) == len({json.dumps(point) for point in points}) == 4
    assert len(tuning(plan, "ls").attempts) == 2


def test_a_finite_space_larger_than_the_budget_repeats_nothing(tmp_path: Path) -> None:
    study = resolved_study(
        search_space={"lr": [0.001, 0.002, 0.003]},
        methods=["ls", {"name": "fairgrad", "alpha": [1.0, 2.0, 3.0]}],
        fixed_weights=None,
        budget={"trials": 8},
    )
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path)
    points = [json.dumps(attempt.point) for attempt in tuning(plan, "fairgrad").attempts]
    assert len(set(points)) == 8


# ------------------------------------------------------------------ order and dependencies


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_phases_wait_for_what_they_need_and_for_nothing_else(tmp_path: Path, slots: int) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    started = execute(plan, tmp_path, slots=slots)
    place = {id(trial): index for index, trial in enumerate(started)}

    def span(phase: str, variant: str | None = None) -> list[int]:
        return [
            place[id(t)]
            for t in started
            if t.phase == phase and (variant is None or t.variant == variant)
        ]

    assert max(span("baselines")) < min(span("search"))
    for variant in ("ls", "uw", "fairgrad"):
        assert max(span("search", variant)) < min(span("replicate", variant))
    assert max(span("replicate", "fairgrad")) < min(span("fixed_weights"))
    assert max(span("search", "ls")) < min(span("weight_sweep"))


def test_methods_take_turns(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(budget={"trials": 3, "seeds": 1}), tmp_path)
    searched = [t.variant for t in execute(plan, tmp_path) if t.phase == "search"]
    assert searched == ["ls", "uw", "fairgrad"] * 3


def test_slots_are_filled_while_methods_wait_for_each_other(tmp_path: Path) -> None:
    # With one method left to search, its sampler would rather wait, but no slot stays empty.
    study = resolved_study(methods=["ls"], fixed_weights=None, weight_sweep=None)
    plan = make_plan(study, tmp_path)
    running: list[Trial] = []
    while len(running) < 4 and (trial := plan.next()) is not None:
        running.append(trial)
    assert len(running) == 4


def test_the_test_split_is_read_after_selection_only(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    for trial in execute(plan, tmp_path):
        tuned = trial.phase == "search" or (trial.phase == "baselines" and trial.seed < 1000)
        assert trial.spec["evaluate_test"] is not tuned


def test_reference_is_the_mean_of_the_replicated_baselines(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    started = execute(plan, tmp_path)
    # The fake metrics are a constant plus 1e-4 times the seed modulo 7; seeds are 1000 and 1001.
    shift = 1e-4 * ((1000 % 7) + (1001 % 7)) / 2
    reference = next(t.spec["reference"] for t in started if t.phase == "search")
    assert reference["CL"]["accuracy"] == pytest.approx(0.9 + shift)
    assert reference["RR"]["mse"] == pytest.approx(0.05 + shift)
    assert all(t.spec["reference"] is None for t in started if t.phase == "baselines")
    assert all(t.spec["reference"] == reference for t in started if t.phase != "baselines")


def test_a_plan_that_cannot_go_on_says_so(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    for unit in plan.units:
        unit._next = lambda: None  # type: ignore[method-assign]
    with pytest.raises(SweepFailedError, match="does not go on although nothing runs"):
        plan.next()


# ------------------------------------------------------------------ what the sampler is told


def test_seeds_are_averaged_before_the_sampler_is_told(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path, lambda trial: ("finished", float(trial.seed)))
    study = tuning(plan, "fairgrad").proposals.study
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert [trial.value for trial in study.trials] == [0.5] * 3


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_one_bad_seed_makes_a_configuration_a_failure(tmp_path: Path, status: str) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        first = trial.phase == "search" and trial.spec["method"]["hyperparameters"] == defaults
        return (status, math.nan) if first and trial.seed == 1 else ("finished", -1.0)

    study = resolved_study()
    parameters = study.candidate("fairgrad").info.hyperparameters
    defaults = {parameter.name: parameter.default for parameter in parameters}
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path, outcome)
    told = tuning(plan, "fairgrad").proposals.study.trials
    assert [trial.state.name for trial in told] == ["FAIL", "COMPLETE", "COMPLETE"]
    best = tuning(plan, "fairgrad").best()
    assert best is not None
    assert best.number == 1


def test_a_search_starts_at_the_method_defaults(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path)
    parameters = {p.name: p for p in plan.resolved.candidate("fairgrad").info.hyperparameters}
    first = tuning(plan, "fairgrad").attempts[0]
    assert first.point["method.alpha"] == parameters["alpha"].default


def test_the_best_configuration_is_replicated(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    started = execute(plan, tmp_path)
    best = tuning(plan, "uw").best()
    assert best is not None
    assert best.value == max(attempt.value for attempt in tuning(plan, "uw").attempts)
    replicated = [t for t in started if t.phase == "replicate" and t.variant == "uw"]
    assert {t.spec["training"]["lr"] for t in replicated} == {best.configuration.training["lr"]}
    assert [t.seed for t in replicated] == [1000, 1001]


def test_methods_without_any_finished_configuration_are_left_out(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        bad = trial.phase == "search" and trial.variant == "fairgrad"
        return ("diverged", math.nan) if bad else hashed_value(trial)

    plan = make_plan(resolved_study(), tmp_path)
    started = execute(plan, tmp_path, outcome)
    assert plan.finished
    assert not [t for t in started if t.phase == "replicate" and t.variant == "fairgrad"]
    counts = plan.counts()
    assert counts["replicate"].left_out == 2
    assert counts["fixed_weights"].left_out == 2
    assert len(plan.blocked()) == 2
    assert "no configuration of fairgrad finished" in plan.blocked()[0]


def test_without_baselines_that_finish_nothing_else_runs(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    started = execute(plan, tmp_path, lambda trial: ("diverged", math.nan))
    assert {t.phase for t in started} == {"baselines"}
    assert plan.finished


def of_baseline(trial: Trial, *, replicate: bool) -> bool:
    return trial.variant == "stl:CL" and (trial.seed >= 1000) is replicate


def test_a_baseline_whose_replicates_diverge_gives_way_to_its_search(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        bad = of_baseline(trial, replicate=True)
        return ("diverged", math.nan) if bad else hashed_value(trial)

    plan = make_plan(resolved_study(baselines={"seeds": 1}), tmp_path)
    started = execute(plan, tmp_path, outcome)
    assert plan.finished
    assert plan.blocked() == []
    assert {t.phase for t in started} == set(sizes(plan))
    # The fake metrics are a constant plus 1e-4 times the seed modulo 7; searches have seeds 0, 1.
    reference = next(t.spec["reference"] for t in started if t.phase == "search")
    assert reference["CL"]["accuracy"] == pytest.approx(0.9 + 0.5e-4)
    assert reference["RR"]["mse"] == pytest.approx(0.05 + 1e-4 * (1000 % 7))
    assert plan.context.notices == [
        "none of the 1 replicates of stl:CL finished; methods are compared with the mean of 2 "
        "finished search trials of its best configuration instead"
    ]


def test_a_baseline_without_a_complete_configuration_gives_what_finished(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        bad = of_baseline(trial, replicate=False) and trial.seed == 1
        return ("diverged", math.nan) if bad else hashed_value(trial)

    plan = make_plan(resolved_study(), tmp_path)
    started = execute(plan, tmp_path, outcome)
    assert plan.finished
    assert {t.phase for t in started} == set(sizes(plan))
    reference = next(t.spec["reference"] for t in started if t.phase == "search")
    assert reference["CL"]["accuracy"] == pytest.approx(0.9)
    assert [sentence.partition(";")[0] for sentence in plan.context.notices] == [
        "no configuration of stl:CL finished with all its seeds"
    ]
    assert len(plan.blocked()) == 1
    assert plan.blocked()[0].startswith("baselines of stl:CL was left out: no configuration of")


def test_without_any_trial_of_a_baseline_the_reason_is_true(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        return ("diverged", math.nan) if trial.variant == "stl:CL" else hashed_value(trial)

    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path, outcome)
    assert plan.finished
    assert (
        "search of uw was left out: methods are compared with stl:CL, of which none of 6 search "
        "trials finished with a finite objective"
    ) in plan.blocked()


def test_replicates_that_all_diverge_stop_no_other_method(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        bad = trial.phase == "replicate" and trial.variant == "fairgrad"
        return ("diverged", math.nan) if bad else hashed_value(trial)

    plan = make_plan(resolved_study(fixed_weights={"sources": ["fairgrad", "uw"]}), tmp_path)
    started = execute(plan, tmp_path, outcome)
    assert plan.finished
    assert "fixed(uw)" in {t.variant for t in started}
    assert plan.blocked() == [
        "fixed_weights of fixed(fairgrad) was left out: none of the 2 replicate trials of "
        "fairgrad finished"
    ]
