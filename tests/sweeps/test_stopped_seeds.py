"""Early stopping with several seeds: the first one is judged, the others follow."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest
from pruning_fakes import CHANGES, quality, run, write
from sweeps_fakes import make_plan, resolved_study

from sweeps.definition.study import Resources
from sweeps.folder.ledger import Record
from sweeps.on_ray.searcher import PlanSearcher
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from trainables.checkpoint import checkpoint_path, save_checkpoint
from trainables.pruning import read_mark
from trainables.record import record_path

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
