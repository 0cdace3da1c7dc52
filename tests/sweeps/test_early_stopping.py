"""Early stopping in a study: whom it meets, and what becomes of stopped trials."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pruning_fakes import CHANGES, run
from sweeps_fakes import SEARCH_ONLY, make_plan, resolved_study

from sweeps.definition.resolved import ResolvedStudy
from trainables.data import DataCache
from trainables.pruning import PruneMark, write_mark
from trainables.record import read_record
from trainables.session import TrialSession
from trainables.spec import TrialSpec


def test_trials_of_searches_are_stopped_and_no_others(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**CHANGES), tmp_path)
    run(plan, tmp_path)
    assert plan.finished
    assert plan.blocked() == []
    statuses = Counter((t.phase, r.status) for t, r in plan.ended)
    assert statuses["search", "pruned"] >= 6
    assert {phase for phase, status in statuses if status == "pruned"} == {"search"}
    for variant in ("ls", "uw", "fairgrad"):
        tuning = plan.context.tunings[variant]
        told = {trial.state.name for trial in tuning.proposals.study.trials}
        assert told == {"COMPLETE", "PRUNED"}
        best = tuning.best()
        assert best is not None
        assert best.results[0][1].status == "finished"
        finished = [a for a in tuning.attempts if a.results[0][1].status == "finished"]
        assert best.value == max(attempt.value for attempt in finished)


def test_methods_are_compared_with_themselves_only(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**CHANGES), tmp_path)
    run(plan, tmp_path)
    first = {}
    for trial, record in plan.ended:
        if trial.phase == "search":
            first.setdefault(trial.variant, record.status)
    # The first trial of every method has nobody to be compared with.
    assert set(first.values()) == {"finished"}


@pytest.mark.parametrize("stop_after", [18, 25, 33])
def test_one_after_another_decisions_survive_interruptions(tmp_path: Path, stop_after: int) -> None:
    study = resolved_study(**CHANGES)
    whole = make_plan(study, tmp_path / "a")
    run(whole, tmp_path / "a")
    run(make_plan(study, tmp_path / "b"), tmp_path / "b", limit=stop_after)
    second = make_plan(study, tmp_path / "b")
    run(second, tmp_path / "b")
    assert {(t.trial_id, r.status) for t, r in whole.ended} == {
        (t.trial_id, r.status) for t, r in second.ended
    }


@pytest.mark.parametrize(
    "scheduler",
    [
        {"name": "asha", "reduction": 2},
        {"name": "hyperband", "reduction": 2},
        {"name": "median", "min_trials": 1},
    ],
)
def test_stops_within_an_epoch_change_no_decision(
    tmp_path: Path, scheduler: dict[str, Any]
) -> None:
    changes: dict[str, Any] = SEARCH_ONLY | {
        "methods": ["ls"],
        "replicate": None,
        "protocol": {"epochs": 5, "batch_size": 32},
        "budget": {"trials": 6},
        "sampler": "qmc",
        "scheduler": scheduler,
    }
    study, data = resolved_study(**changes), DataCache()
    train(study, tmp_path / "a", data, every=0)
    train(study, tmp_path / "b", data, every=1)
    train(study, tmp_path / "c", data, every=3)
    expected = ended_records(tmp_path / "a")
    assert {"pruned", "finished"} == {status for status, _, _ in expected.values()}
    assert ended_records(tmp_path / "b") == expected
    assert ended_records(tmp_path / "c") == expected


def train(study: ResolvedStudy, results: Path, data: DataCache, *, every: int) -> None:
    """Trains one trial after another; every so many epochs a stop comes before the driver hears."""
    reached: Counter[str] = Counter()
    plan = make_plan(study, results)
    while (trial := plan.next()) is not None:
        spec = TrialSpec.from_dict(trial.spec)
        session = TrialSession(spec, data, results_dir=results, prunable=True)
        while not (result := session.step())["done"]:
            trained = result["epoch"] > reached[trial.trial_id]
            reached[trial.trial_id] = result["epoch"]
            if every and trained and reached.total() % every == 0:
                session.close()
                plan = make_plan(study, results)
                break
            reason = plan.reported(trial.trial_id, result["epoch"], result["objective"])
            if reason is not None:
                write_mark(results, trial.trial_id, PruneMark(result["epoch"], reason))
        else:
            record = plan.ledger.read(trial.trial_id)
            assert record is not None
            plan.end(trial.trial_id, record)


def ended_records(results: Path) -> dict[str, tuple[str, list[float], str]]:
    """For each trial how it ended, the measure of every epoch, and why it was stopped."""
    records = [read_record(path) for path in sorted((results / "ledger").glob("*.json"))]
    return {
        record["trial_id"]: (
            record["status"],
            [row["selection"] for row in record["epochs"]],
            (record["error"] or {}).get("message", ""),
        )
        for record in records
    }


def test_without_the_scheduler_what_it_stopped_runs_in_full(tmp_path: Path) -> None:
    first = make_plan(resolved_study(**CHANGES), tmp_path)
    run(first, tmp_path)
    stopped = {t.trial_id for t, r in first.ended if r.status == "pruned"}
    assert stopped
    plan = make_plan(resolved_study(**CHANGES | {"scheduler": "none"}), tmp_path)
    rerun = run(plan, tmp_path)
    assert stopped <= {t.trial_id for t in rerun}
    assert all(record.status == "finished" for _, record in plan.ended)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    "rule", [{"name": "asha", "reduction": 2}, {"name": "asha", "grace_epochs": 3}, "median"]
)
def test_under_another_rule_what_was_stopped_is_judged_anew(
    tmp_path: Path, rule: Any, seeds: int
) -> None:
    changes = CHANGES | {"budget": {"trials": 6, "seeds": seeds}, "sampler": "qmc"}
    changed = resolved_study(**changes | {"scheduler": rule})
    first = make_plan(resolved_study(**changes), tmp_path / "a")
    run(first, tmp_path / "a")
    stopped = {t.trial_id for t, r in first.ended if r.status == "pruned"}
    plan = make_plan(changed, tmp_path / "a")
    rerun = run(plan, tmp_path / "a")
    assert stopped & {t.trial_id for t in rerun}
    assert plan.finished
    fresh = make_plan(changed, tmp_path / "b")
    run(fresh, tmp_path / "b")
    # What the old rule let through was trained to its end, and stays; nobody else was stopped.
    ours, theirs = ({t.trial_id for t, r in p.ended if r.status == "pruned"} for p in (plan, fresh))
    assert ours <= theirs
    assert run(make_plan(changed, tmp_path / "a"), tmp_path / "a") == []


def test_records_that_name_no_rule_count_under_every_rule(tmp_path: Path) -> None:
    first = make_plan(resolved_study(**CHANGES | {"sampler": "qmc"}), tmp_path)
    run(first, tmp_path, named=False)
    rule = {"name": "asha", "reduction": 2}
    plan = make_plan(resolved_study(**CHANGES | {"sampler": "qmc", "scheduler": rule}), tmp_path)
    assert run(plan, tmp_path) == []
    assert "pruned" in {record.status for _, record in plan.ended}
