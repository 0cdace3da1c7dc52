"""Plans that continue: nothing repeated, nothing lost, changed parts anew."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from sweeps_fakes import (
    execute,
    hashed_value,
    make_plan,
    resolved_study,
    tuning,
    write_fake_record,
)

from sweeps.planning.trials import Trial


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("stop_after", [0, 1, 7, 16, 20, 33, 38, 44])
def test_continuing_repeats_nothing_and_changes_nothing(
    tmp_path: Path, stop_after: int, slots: int
) -> None:
    study = resolved_study()
    undisturbed = execute(make_plan(study, tmp_path / "a"), tmp_path / "a", slots=slots)

    first = make_plan(study, tmp_path / "b")
    execute(first, tmp_path / "b", slots=slots, limit=stop_after)
    ended = {path.name for path in (tmp_path / "b" / "ledger").glob("*.json")}
    second = make_plan(study, tmp_path / "b")
    rerun = execute(second, tmp_path / "b", slots=slots)

    assert second.finished
    assert second.reused == len(ended) == stop_after
    assert not {f"{t.trial_id}.json" for t in rerun} & ended
    if slots == 1:
        # With one slot, suggestions depend on nothing but what was told: all is the same.
        assert {t.trial_id for t in undisturbed} == {t.trial_id for t, _ in second.ended}


def test_what_was_asked_for_but_not_finished_is_resumed(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    started = execute(plan, tmp_path, slots=4, limit=18)
    unfinished = {t.trial_id for t in started} - {t.trial_id for t, _ in plan.ended}
    assert any(t.phase == "search" for t in started if t.trial_id in unfinished)
    rerun = execute(make_plan(resolved_study(), tmp_path), tmp_path, slots=4)
    assert unfinished <= {t.trial_id for t in rerun}


def test_replayed_results_are_told_to_the_sampler(tmp_path: Path) -> None:
    execute(make_plan(resolved_study(), tmp_path), tmp_path)
    plan = make_plan(resolved_study(), tmp_path)
    assert plan.finished
    told = tuning(plan, "fairgrad").proposals.study.trials
    attempts = tuning(plan, "fairgrad").attempts
    assert [trial.value for trial in told] == [attempt.value for attempt in attempts]
    assert [trial.params for trial in told] == [attempt.point for attempt in attempts]


def test_a_larger_budget_keeps_what_was_searched(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"baselines": None, "selection": "loss", "fixed_weights": None}
    execute(make_plan(resolved_study(**changes), tmp_path), tmp_path)
    more = resolved_study(**changes, budget={"trials": 5, "seeds": 2})
    rerun = execute(make_plan(more, tmp_path), tmp_path)
    assert sum(t.phase == "search" for t in rerun) == 3 * 2 * 2


def test_more_seeds_keep_what_was_searched(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"baselines": None, "selection": "loss", "fixed_weights": None}
    execute(make_plan(resolved_study(**changes), tmp_path), tmp_path)
    more = resolved_study(**changes, budget={"trials": 3, "seeds": 3})
    rerun = execute(make_plan(more, tmp_path), tmp_path)
    assert [t.seed for t in rerun if t.phase == "search"] == [2] * 9


@pytest.mark.parametrize(("status", "noted"), [("finished", True), ("failed", False)])
def test_what_ended_as_the_run_was_stopped_is_noted(
    status: str, noted: bool, tmp_path: Path
) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    trials = [trial for trial in (plan.next(), plan.next()) if trial is not None]
    assert len(trials) == 2
    write_fake_record(tmp_path, trials[1], status, 0.5)
    plan.catch_up()
    assert [trial.trial_id for trial, _ in plan.ended] == [trials[1].trial_id] * noted
    assert plan.running == 2 - noted


def test_what_ended_and_cannot_be_asked_for_yet_is_counted_apart(tmp_path: Path) -> None:
    whole = make_plan(resolved_study(), tmp_path)
    execute(whole, tmp_path)
    assert (whole.reused, whole.unclaimed) == (0, 0)
    lost = next(t for t, _ in whole.ended if t.phase == "baselines" and t.spec["evaluate_test"])
    (tmp_path / "ledger" / f"{lost.trial_id}.json").unlink()
    plan = make_plan(resolved_study(), tmp_path)
    # Everything that is measured against the baselines waits for the one that is lost.
    assert plan.reused + plan.unclaimed == len(whole.ended) - 1
    assert plan.unclaimed > plan.reused
    rerun = execute(plan, tmp_path)
    assert [trial.trial_id for trial in rerun] == [lost.trial_id]
    assert (plan.reused, plan.unclaimed) == (len(whole.ended) - 1, 0)


def test_changed_parts_run_anew_and_unchanged_ones_do_not(tmp_path: Path) -> None:
    execute(make_plan(resolved_study(), tmp_path), tmp_path)
    changed = resolved_study(methods=["ls", "uw", {"name": "fairgrad", "alpha": 3.0}])
    rerun = execute(make_plan(changed, tmp_path), tmp_path)
    assert {t.variant for t in rerun} <= {"fairgrad", "fixed(fairgrad)"}
    assert rerun


def test_failed_trials_are_tried_again_and_diverged_ones_are_not(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        if trial.phase == "replicate" and trial.variant == "uw":
            return ("failed" if trial.seed == 1000 else "diverged"), math.nan
        return hashed_value(trial)

    execute(make_plan(resolved_study(), tmp_path), tmp_path, outcome)
    rerun = execute(make_plan(resolved_study(), tmp_path), tmp_path)
    assert [(t.phase, t.variant, t.seed) for t in rerun] == [("replicate", "uw", 1000)]


def test_a_damaged_record_makes_that_trial_run_again(tmp_path: Path) -> None:
    started = execute(make_plan(resolved_study(), tmp_path), tmp_path)
    for trial, damage in zip(
        (started[3], started[20]),
        (lambda raw: raw[:50], lambda raw: raw.replace(b"1.0", b"2.0")),
        strict=True,
    ):
        path = tmp_path / "ledger" / f"{trial.trial_id}.json"
        path.write_bytes(damage(path.read_bytes()))
    plan = make_plan(resolved_study(), tmp_path)
    assert len(plan.ledger.damaged) == 2
    rerun = execute(plan, tmp_path)
    assert {t.trial_id for t in rerun} == {started[3].trial_id, started[20].trial_id}


def test_a_cut_ask_log_loses_only_what_was_cut(tmp_path: Path) -> None:
    execute(make_plan(resolved_study(), tmp_path), tmp_path)
    log = next((tmp_path / "search").glob("fairgrad-*.jsonl"))
    log.write_bytes(log.read_bytes()[:-30])
    # The sampler is asked again with the same seed and the same results: the same answer.
    plan = make_plan(resolved_study(), tmp_path)
    assert execute(plan, tmp_path) == []
    assert len(log.read_text(encoding="utf-8").splitlines()) == 3
    assert len(plan.context.tunings["fairgrad"].attempts) == 3


def test_two_variants_share_a_trial_that_is_the_same(tmp_path: Path) -> None:
    study = resolved_study(
        methods=[{"name": "ls", "label": "one"}, {"name": "ls", "label": "two"}],
        search_space={"lr": 0.001},
        fixed_weights=None,
        weight_sweep=None,
    )
    plan = make_plan(study, tmp_path)
    started = execute(plan, tmp_path, slots=4)
    assert len([t for t in started if t.phase == "replicate"]) == 2
    assert len([t for t, _ in plan.ended if t.phase == "replicate"]) == 4


def test_a_plan_for_tables_asks_for_nothing_new(tmp_path: Path) -> None:
    execute(make_plan(resolved_study(), tmp_path), tmp_path, limit=25)
    files = {p: p.read_bytes() for p in (tmp_path / "search").iterdir()}
    plan = make_plan(resolved_study(), tmp_path, extend=False)
    assert len(plan.ended) == 25
    assert {p: p.read_bytes() for p in (tmp_path / "search").iterdir()} == files


def test_a_record_without_objective_is_never_the_best(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(budget={"trials": 2}), tmp_path)
    values = iter([float("-inf"), 1.0])

    def outcome(trial: Trial) -> tuple[str, float]:
        if trial.phase == "baselines" and trial.variant == "stl:CL" and trial.seed == 0:
            value = next(values)
            return ("finished", value) if math.isfinite(value) else ("diverged", 0.0)
        return hashed_value(trial)

    execute(plan, tmp_path, outcome)
    best = tuning(plan, "stl:CL").best()
    assert best is not None
    assert best.number == 1


def test_fake_records_are_what_the_ledger_reads(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    trial = plan.next()
    assert trial is not None
    write_fake_record(tmp_path, trial, value=0.25)
    record = plan.ledger.read(trial.trial_id)
    assert record is not None
    assert record.measure("selection") == 0.25
    assert [row["epoch"] for row in record.epochs()] == [1, 2]
