"""Early stopping: the rules, who is compared with whom, and what becomes of stopped trials."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sweeps_fakes import SEARCH_ONLY, make_plan, resolved_study

from sweeps.definition.resolved import ResolvedStudy
from sweeps.definition.study import Resources, Scheduler
from sweeps.folder.ledger import Record
from sweeps.on_ray.searcher import PlanSearcher
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from sweeps.search.pruning import SCHEDULERS, Pruner, bracket_shares
from trainables.checkpoint import checkpoint_path, save_checkpoint
from trainables.data import DataCache
from trainables.pruning import PruneMark, read_mark, write_mark
from trainables.record import FORMAT, read_record, record_path, write_record
from trainables.session import TrialSession
from trainables.spec import TrialSpec


def reasons(pruner: Pruner, courses: list[list[float]]) -> list[int | None]:
    """Runs trials one after another; after which epoch each was stopped."""
    stopped: list[int | None] = []
    for number, course in enumerate(courses):
        best, after = -math.inf, None
        for epoch, value in enumerate(course, start=1):
            best = max(best, value)
            if pruner.reported(number, epoch, best) is not None:
                after = epoch
                break
        stopped.append(after)
    return stopped


# ------------------------------------------------------------------ rules


def test_asha_lets_the_best_of_every_three_go_on() -> None:
    pruner = Pruner(Scheduler(name="asha", reduction=3), epochs=9)
    values = [0.5, 0.4, 0.6, 0.55, 0.7, 0.65]
    # Of up to five trials at a level the best goes on, of six the two best: the last one passes
    # level 1, and is the second of four at level 3.
    assert reasons(pruner, [[value] * 9 for value in values]) == [None, 1, None, 1, None, 3]


def test_asha_judges_at_its_levels_only_and_by_the_best_epoch_so_far() -> None:
    pruner = Pruner(Scheduler(name="asha", grace_epochs=2, reduction=2), epochs=9)
    first = [0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    second = [0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]  # its best is behind at level 8
    assert reasons(pruner, [first, second]) == [None, 8]


def test_a_trial_is_never_stopped_after_its_last_epoch() -> None:
    pruner = Pruner(Scheduler(name="asha", reduction=2), epochs=4)
    assert reasons(pruner, [[0.0, 0.0, 0.0, 5.0], [1.0, 1.0, 1.0, 1.0]]) == [None, None]


def test_median_stops_what_is_worse_than_half_of_enough_others() -> None:
    pruner = Pruner(Scheduler(name="median", grace_epochs=2, min_trials=3), epochs=5)
    courses = [[1.0] * 5, [2.0] * 5, [3.0] * 5, [1.5] * 5, [2.5] * 5, [2.0] * 5]
    # The last one is no worse than half of five others after epoch 2, of four after epoch 3 it is.
    assert reasons(pruner, courses) == [None, None, None, 2, None, 3]


def test_hyperband_deals_configurations_out_and_compares_within_a_ladder() -> None:
    scheduler = Scheduler(name="hyperband", reduction=3)
    shares = bracket_shares(scheduler, 27)
    assert shares == pytest.approx([9 / 17, 5 / 17, 3 / 17], abs=0.02)
    pruner = Pruner(scheduler, epochs=27)
    dealt = Counter(pruner._bracket(number) for number in range(34))
    assert [dealt[bracket] for bracket in range(3)] == [round(34 * share) for share in shares]
    pruner = Pruner(scheduler, epochs=27)
    ladder = [pruner._bracket(number) for number in range(6)]
    later = next(number for number in range(6) if ladder[number] != ladder[0])
    courses = [[float(10 - number)] * 27 for number in range(6)]
    stopped = reasons(pruner, courses)
    assert stopped[0] is None
    assert stopped[later] is None  # worse, but the first of its ladder
    assert 1 in stopped


def test_a_configuration_does_not_compete_with_itself() -> None:
    pruner = Pruner(Scheduler(name="asha", reduction=2), epochs=4)
    assert pruner.reported(0, 1, 1.0) is None
    assert pruner.reported(0, 1, 0.5) is None  # the same epoch again: it counts once
    reason = pruner.reported(1, 1, 0.4)
    assert reason is not None
    assert "1 of the 2 configurations" in reason


def test_what_ended_before_counts_as_if_it_had_been_watched() -> None:
    watched, told = (Pruner(Scheduler(name="asha"), epochs=9) for _ in range(2))
    reasons(watched, [[0.1, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]])
    rows = [{"selection": v} for v in [0.1, 0.5, 0.2, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1]]
    told.ended(0, rows)
    for value in (0.05, 0.4, 0.7):
        assert (watched.reported(1, 3, value) is None) is (told.reported(1, 3, value) is None)


def test_none_stops_nothing() -> None:
    assert set(SCHEDULERS) == {"none", "asha", "hyperband", "median"}
    pruner = Pruner(Scheduler(name="none"), epochs=9)
    assert reasons(pruner, [[1.0] * 9, [0.0] * 9]) == [None, None]


# ------------------------------------------------------------------ in a study


def quality(trial: Trial) -> float:
    return -abs(math.log10(trial.spec["training"]["lr"]) + 2.5) - 0.01 * (trial.seed % 7)


def run(plan: Plan, results: Path, limit: int = 10_000, *, named: bool = True) -> list[Trial]:
    """Runs trials one after another, epoch by epoch, stopping those that should be."""
    started = []
    while len(started) < limit and (trial := plan.next()) is not None:
        started.append(trial)
        rows: list[dict[str, Any]] = []
        reason = None
        while len(rows) < trial.epochs and reason is None:
            value = quality(trial) + 0.01 * len(rows)
            rows.append({"epoch": len(rows) + 1, "selection": value, "weight.CL": 1.0})
            rows[-1]["weight.RR"] = 1.0
            reason = plan.reported(trial.trial_id, len(rows), value)
        write(results, trial, rows, reason, plan.rule(trial.trial_id) if named else "")
        record = plan.ledger.read(trial.trial_id)
        assert record is not None
        plan.end(trial.trial_id, record)
    return started


def write(
    results: Path, trial: Trial, rows: list[dict[str, Any]], reason: str | None, rule: str = ""
) -> None:
    value = rows[-1]["selection"] if rows else math.nan
    metrics = {"CL.accuracy": 0.9, "RR.mse": 0.05, "selection": value}
    error = {"type": "PrunedError", "message": reason, "task": None, "epoch": None, "step": None}
    write_record(
        record_path(results, trial.trial_id),
        {
            "format": FORMAT,
            "trial_id": trial.trial_id,
            "phase": trial.phase,
            "spec": dict(trial.spec),
            "status": "finished" if reason is None else "pruned",
            "error": None if reason is None else error | {"traceback": None},
            "epochs": rows,
            "best_epoch": len(rows) or None,
            "validation": metrics if rows else None,
            "test": metrics if trial.spec["evaluate_test"] else None,
            "seconds": 0.5 * len(rows),
            "counters": {},
            "started": "2026-01-01T00:00:00+00:00",
            "ended": "2026-01-01T00:00:01+00:00",
            "host": "here",
        }
        | ({"rule": rule} if reason is not None and rule else {}),
    )


CHANGES: dict[str, Any] = {
    "protocol": {"epochs": 9, "batch_size": 32},
    "budget": {"trials": 8},
    "scheduler": "asha",
}


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


# ------------------------------------------------------------------ several seeds

SEEDS: dict[str, Any] = CHANGES | {"budget": {"trials": 6, "seeds": 3}}


def searched(plan: Plan) -> dict[str, list[list[str]]]:
    """For each method the statuses of the trials of each configuration, by seed."""
    found: dict[str, list[list[str]]] = {}
    for variant in ("ls", "uw", "fairgrad"):
        attempts = plan.context.tunings[variant].attempts
        found[variant] = [[r.status for _, r in attempt.by_seed()] for attempt in attempts]
    return found


def test_other_seeds_of_a_stopped_configuration_do_not_run(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**SEEDS), tmp_path)
    run(plan, tmp_path)
    assert plan.finished
    statuses = [seeds for attempts in searched(plan).values() for seeds in attempts]
    stopped = [seeds for seeds in statuses if "pruned" in seeds]
    assert stopped
    assert all(seeds == ["pruned"] for seeds in stopped)
    assert all(len(seeds) == 3 for seeds in statuses if "pruned" not in seeds)
    spared = sum(3 - len(seeds) for seeds in stopped)
    assert spared > 0
    search = plan.counts()["search"]
    assert (search.ended, search.planned, search.skipped) == (54 - spared, 54 - spared, spared)
    for variant, attempts in searched(plan).items():
        told = [t.state.name for t in plan.context.tunings[variant].proposals.study.trials]
        assert told == ["PRUNED" if "pruned" in seeds else "COMPLETE" for seeds in attempts]


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
@pytest.mark.parametrize("slots", [1, 5])
@pytest.mark.parametrize("draw", range(3))
def test_with_several_seeds_some_configuration_survives_and_only_first_seeds_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, slots: int, draw: int
) -> None:
    # Seeds that differ more than configurations: hardly one is good with all three.
    def noisy(trial: Trial) -> float:
        return random.Random(f"{draw} {trial.trial_id}").random()

    monkeypatch.setattr(sys.modules[__name__], "quality", noisy)
    plan = make_plan(resolved_study(**SEEDS | {"scheduler": name}), tmp_path)
    run_beside_each_other(plan, tmp_path, slots)
    assert plan.finished
    assert plan.blocked() == []
    assert any(record.status == "pruned" for _, record in plan.ended)
    for variant in ("ls", "uw", "fairgrad"):
        tuning = plan.context.tunings[variant]
        assert tuning.best() is not None
        for attempt in tuning.attempts:
            for trial, record in attempt.results:
                first = trial.trial_id == attempt.judged
                assert record.status == "finished" or (first and record.status == "pruned")


def test_as_many_configurations_survive_as_with_one_seed(tmp_path: Path) -> None:
    survivors = []
    for seeds in (1, 3):
        study = resolved_study(
            **SEEDS | {"budget": {"trials": 6, "seeds": seeds}, "sampler": "qmc"}
        )
        plan = make_plan(study, tmp_path / str(seeds))
        run(plan, tmp_path / str(seeds))
        tunings = [plan.context.tunings[variant] for variant in ("ls", "uw", "fairgrad")]
        survivors.append([[attempt.stopped for attempt in t.attempts] for t in tunings])
    assert survivors[0] == survivors[1]


def run_beside_each_other(plan: Plan, results: Path, slots: int) -> None:
    """Runs so many trials at once, an epoch of each in turn."""
    running: dict[str, tuple[Trial, list[dict[str, Any]]]] = {}
    while True:
        while len(running) < slots and (trial := plan.next()) is not None:
            running[trial.trial_id] = (trial, [])
        if not running:
            return
        for trial_id, (trial, rows) in list(running.items()):
            value = quality(trial) + 0.01 * len(rows)
            weights = {"weight.CL": 1.0, "weight.RR": 1.0}
            rows.append({"epoch": len(rows) + 1, "selection": value, **weights})
            reason = plan.reported(trial_id, len(rows), value)
            if reason is not None or len(rows) == trial.epochs:
                del running[trial_id]
                write(results, trial, rows, reason)
                record = plan.ledger.read(trial_id)
                assert record is not None
                plan.end(trial_id, record)


@pytest.mark.parametrize("stop_after", [26, 31, 40])
def test_what_is_skipped_survives_interruptions(tmp_path: Path, stop_after: int) -> None:
    study = resolved_study(**SEEDS)
    whole = make_plan(study, tmp_path / "a")
    order = run(whole, tmp_path / "a")
    first = run(make_plan(study, tmp_path / "b"), tmp_path / "b", limit=stop_after)
    second = make_plan(study, tmp_path / "b")
    rest = run(second, tmp_path / "b")
    assert {t.trial_id for t in [*first, *rest]} == {t.trial_id for t in order}
    assert searched(second) == searched(whole)
    assert second.counts() == whole.counts()


def test_a_seed_that_waits_for_its_actor_does_not_begin(tmp_path: Path) -> None:
    study = resolved_study(**SEEDS | {"methods": ["ls"], "fixed_weights": None})
    plan = make_plan(study, tmp_path)
    while (first := plan.next()) is not None and first.phase != "search":
        write_and_end(plan, tmp_path, first, 9, None)
    assert first is not None
    searcher = PlanSearcher(
        plan, tmp_path, resources=Resources(), slots=1, events=Quiet(), first=first
    )
    searcher.on_result("rest", {"pid": 1, "node_ip": "here"})
    for ray_id in ("ray0", "ray1"):  # Tune asks for the next one while the first runs
        assert isinstance(searcher.suggest(ray_id), dict)
    waiting = searcher._trials["ray1"]
    assert waiting.configuration_id == first.configuration_id
    assert read_mark(tmp_path, waiting.trial_id) is None

    write_trial(tmp_path, first, 1, "asha: not good enough")
    searcher.on_trial_complete("ray0", {"done": True})
    mark = read_mark(tmp_path, waiting.trial_id)
    assert mark is not None
    assert mark.epoch == 0
    write_trial(tmp_path, waiting, 0, mark.reason)
    searcher.on_trial_complete("ray1", {"done": True})

    assert searcher.failure is None
    following = plan.next()
    assert following is not None
    assert following.configuration_id != first.configuration_id
    assert plan.counts()["search"].skipped == 2
    assert waiting.trial_id not in {trial.trial_id for trial, _ in plan.ended}
    # Continued, the same is skipped: with its empty record, and without it.
    for damaged in (False, True):
        if damaged:
            record_path(tmp_path, waiting.trial_id).unlink()
        again = make_plan(study, tmp_path)
        upcoming = again.next()
        assert upcoming is not None
        assert upcoming.trial_id == following.trial_id
        assert again.counts() == plan.counts()
        assert again.reused == len(again.ended)
    # What had begun goes on.
    save_checkpoint(checkpoint_path(tmp_path, waiting.trial_id), {"epoch": 3})
    upcoming = make_plan(study, tmp_path).next()
    assert upcoming is not None
    assert upcoming.trial_id == waiting.trial_id


class Quiet:
    """Is told of everything and says nothing."""

    def started(self, trial: Trial) -> None: ...
    def progressed(self, trial: Trial, epoch: int) -> None: ...
    def ended(self, trial: Trial, record: Record) -> None: ...


def write_trial(results: Path, trial: Trial, epochs: int, reason: str | None) -> None:
    rows = [
        {"epoch": n + 1, "selection": quality(trial) + 0.01 * n, "weight.CL": 1.0, "weight.RR": 1.0}
        for n in range(epochs)
    ]
    write(results, trial, rows, reason)


def write_and_end(plan: Plan, results: Path, trial: Trial, epochs: int, reason: str | None) -> None:
    write_trial(results, trial, epochs, reason)
    record = plan.ledger.read(trial.trial_id)
    assert record is not None
    plan.end(trial.trial_id, record)
