"""The seam to Ray Tune, driven as Tune drives it but without Ray."""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher
from sweeps_fakes import hashed_value, make_plan, resolved_study, write_fake_record

from sweeps.definition.study import Resources
from sweeps.errors import ResultsFolderError, SweepFailedError
from sweeps.folder.ledger import Record
from sweeps.on_ray.searcher import PlanSearcher, SweepStopper, TuneEvents
from sweeps.on_ray.worker import REST
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial


class Events:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []

    def started(self, trial: Trial) -> None:
        self.log.append(("started", trial.trial_id))

    def progressed(self, trial: Trial, epoch: int) -> None:
        self.log.append(("progressed", trial.trial_id))

    def ended(self, trial: Trial, record: Record) -> None:
        self.log.append((record.status, trial.trial_id))


class FakeTune:
    """What matters here of Ray Tune 2.60's control loop with actor reuse.

    Actors come up one after another, some steps apart. An actor whose trial ended is kept only if
    a trial waits for it, as in Tune.
    """

    def __init__(
        self, searcher: PlanSearcher, results: Path, slots: int, actors: int | None = None
    ) -> None:
        self.searcher = searcher
        self.stopper = SweepStopper(searcher, lambda: False)
        self.events = TuneEvents(searcher)
        self.results = results
        self.slots = slots
        self.actors = actors or slots
        self.pending: list[tuple[str, dict[str, Any]]] = []
        self.running: dict[int, tuple[str, dict[str, Any]]] = {}
        self.starting: dict[int, int] = {}
        self.finished = False
        self.number = 0
        self.actors_started = 0
        self.rests = 0
        self.to_kill: int | None = None

    def step(self, outcome: Callable[[Trial], tuple[str, float]]) -> None:
        self.ask()
        self.start_actors()
        for actor in list(self.running):
            self.advance(actor, outcome)

    def ask(self) -> None:
        while not self.finished and len(self.pending) < self.slots:
            self.number += 1
            ray_id = f"ray{self.number}"
            config = self.searcher.suggest(ray_id)
            if config == Searcher.FINISHED:
                self.finished = True
            elif config is None:
                return
            else:
                assert isinstance(config, dict)
                self.pending.append((ray_id, config))

    def start_actors(self) -> None:
        missing = min(self.actors - len(self.running) - len(self.starting), len(self.pending))
        for _ in range(missing):
            self.actors_started += 1
            self.starting[self.actors_started] = 3 * self.actors_started
        for actor in list(self.starting):
            self.starting[actor] -= 1
            if self.starting[actor] <= 0 and self.pending:
                del self.starting[actor]
                self.take(actor)

    def take(self, actor: int) -> None:
        ray_id, config = self.pending.pop(0)
        self.running[actor] = (ray_id, config)
        self.searcher.on_start(ray_id)

    def advance(self, actor: int, outcome: Callable[[Trial], tuple[str, float]]) -> None:
        ray_id, config = self.running[actor]
        worker = {"pid": actor, "node_ip": "here"}
        if actor == self.to_kill:
            self.to_kill = None
            del self.running[actor]
            self.searcher.on_trial_complete(ray_id, None, error=True)
            return
        if REST in config:
            self.rests += 1
            if not self.stopper(ray_id, {REST: config[REST], **worker}):
                return
            self.searcher.on_trial_complete(ray_id, {})
        else:
            trial = self.searcher._trials[ray_id]
            self.stopper(ray_id, {"epoch": 1, **worker})
            self.searcher.on_trial_result(ray_id, {"epoch": 1, **worker})
            write_fake_record(self.results, trial, *outcome(trial))
            self.searcher.on_trial_complete(ray_id, {"done": True})
        del self.running[actor]
        self.ask()
        if self.pending:
            self.take(actor)

    def run(self, outcome: Callable[[Trial], tuple[str, float]] = hashed_value) -> None:
        for _ in range(10_000):
            self.step(outcome)
            if self.finished and not self.pending and not self.running:
                return
        raise AssertionError("the sweep did not end")


def make(results: Path, slots: int = 2, **changes: Any) -> tuple[Plan, PlanSearcher, Events]:
    plan = make_plan(resolved_study(**changes), results)
    events = Events()
    searcher = PlanSearcher(
        plan, results, resources=Resources(), slots=slots, events=events, first=plan.next()
    )
    return plan, searcher, events


def handed_out(searcher: PlanSearcher, ray_id: str = "ray0") -> Trial:
    """The next trial, once its actor is up."""
    searcher.on_result("rest", {"pid": 1, "node_ip": "here"})
    assert isinstance(searcher.suggest(ray_id), dict)
    return searcher._trials[ray_id]


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_whole_study_runs_through_one_searcher_on_the_same_actors(
    tmp_path: Path, slots: int
) -> None:
    plan, searcher, events = make(tmp_path, slots)
    tune = FakeTune(searcher, tmp_path, slots)
    tune.run()
    assert plan.finished
    planned = sum(count.planned for count in plan.counts().values())
    finished = [trial_id for what, trial_id in events.log if what == "finished"]
    assert len(finished) == len(set(finished)) == planned
    # No actor is lost while phases wait for each other, and every slot is used.
    assert tune.actors_started == slots
    assert len(searcher.workers) == slots


def test_trials_begin_when_all_actors_are_up(tmp_path: Path) -> None:
    _plan, searcher, events = make(tmp_path, 3)
    tune = FakeTune(searcher, tmp_path, 3)
    while len(tune.running) < 3:
        tune.step(hashed_value)
        assert all(what == "started" for what, _ in events.log)
    tune.run()
    assert len(searcher.workers) == 3


def test_the_first_actor_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.on_ray.rests._PATIENCE_S", -1.0)
    plan, searcher, _events = make(tmp_path, 3)
    tune = FakeTune(searcher, tmp_path, 3, actors=1)
    tune.run()
    assert plan.finished


def test_a_configuration_is_what_the_trainable_takes(tmp_path: Path) -> None:
    from trainables.trainable import _KEYS

    _plan, searcher, _ = make(tmp_path, 1)
    assert REST in searcher.suggest("rest")  # type: ignore[operator]
    searcher.on_result("rest", {"pid": 1, "node_ip": "here"})
    config = searcher.suggest("ray")
    assert isinstance(config, dict)
    assert set(config) <= set(_KEYS)
    assert config["results_dir"] == str(tmp_path)


def test_a_dead_worker_is_recorded_and_the_sweep_goes_on(tmp_path: Path) -> None:
    plan, searcher, events = make(tmp_path, 1)
    trial = handed_out(searcher)
    for attempt in range(3):
        assert plan.ledger.get(trial.trial_id) is None
        searcher.on_trial_complete(f"ray{attempt}", None, error=True)
        again = handed_out(searcher, f"ray{attempt + 1}")
        assert (again is trial) == (attempt < 2)
    record = plan.ledger.get(trial.trial_id)
    assert record is not None
    assert record.status == "failed"
    assert record.error["type"] == "WorkerDied"
    assert searcher.failure is None
    assert ("failed", trial.trial_id) in events.log


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_killed_worker_costs_nothing_but_its_successor(tmp_path: Path, slots: int) -> None:
    plan, searcher, events = make(tmp_path, slots)
    tune = FakeTune(searcher, tmp_path, slots)
    while len(plan.ended) < 20:
        tune.step(hashed_value)
    tune.to_kill = 1
    tune.run()
    assert plan.finished
    assert {what for what, _ in events.log} == {"started", "progressed", "finished"}
    assert tune.actors_started == slots + 1
    assert len(searcher.workers) == slots + 1


def test_what_ray_says_of_success_is_not_believed_without_a_record(tmp_path: Path) -> None:
    plan, searcher, _ = make(tmp_path, 1)
    trial = handed_out(searcher)
    searcher.on_trial_complete("ray0", {"done": True, "status": "finished"})
    record = plan.ledger.get(trial.trial_id)
    assert record is not None
    assert record.error["type"] == "RecordMissing"


def test_a_failure_on_our_side_stops_the_sweep(tmp_path: Path) -> None:
    _plan, searcher, _ = make(tmp_path, 1)
    stopper = SweepStopper(searcher, lambda: False)
    handed_out(searcher)
    assert not stopper.stop_all()
    (tmp_path / "ledger").write_text("in the way", encoding="utf-8")
    searcher.on_trial_complete("ray0", {"done": True})
    assert isinstance(searcher.failure, ResultsFolderError)
    assert stopper.stop_all()
    assert searcher.suggest("ray2") is None


def test_workers_that_cannot_start_end_the_sweep(tmp_path: Path) -> None:
    _, searcher, _ = make(tmp_path, 2)
    for number in range(100):
        if searcher.suggest(f"ray{number}") is None:
            break
        searcher.on_trial_complete(f"ray{number}", None, error=True)
    assert isinstance(searcher.failure, SweepFailedError)
    assert number == 9


ESSAY = """Failure # 1 (occurred at 2026-01-01_00-00-00)
ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.
Memory on the node (IP: 127.0.0.1, ID: abc) where the task ran was 15.1GB / 16.0GB (0.95), which
exceeds the memory usage threshold of 0.95. Refer to the documentation on how to address it: x.
To adjust the kill threshold, set the environment variable `RAY_memory_usage_threshold`.
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ESSAY, "the machine ran out of memory; lower resources.concurrent or the batch size"),
        ("Trace\nActorDiedError: it died. Much more.", "up again: ActorDiedError: it died."),
        ("x" * 5000, "up again: " + "x" * 200 + "..."),
    ],
)
def test_why_a_worker_died_is_one_sentence_and_the_rest_is_in_rays_log(
    text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, searcher, _ = make(tmp_path)
    (tmp_path / "error.txt").write_text(text, encoding="utf-8")
    trial = SimpleNamespace(trial_id="t", error_file=str(tmp_path / "error.txt"))
    seen: dict[str, list[str]] = {"ray": [], "sweeps": []}
    for name, messages in seen.items():

        def note(message: str, *values: object, to: list[str] = messages) -> None:
            to.append(message % values)

        monkeypatch.setattr(logging.getLogger(name), "warning", note)
    TuneEvents(searcher).on_trial_error(1, [], trial)
    assert expected in seen["sweeps"][0]
    assert len(seen["sweeps"][0]) < 300
    assert text.strip() in seen["ray"][0]


def test_a_stop_is_passed_on(tmp_path: Path) -> None:
    _, searcher, _ = make(tmp_path, 1)
    assert SweepStopper(searcher, lambda: True).stop_all()


def test_diverged_and_failed_trials_do_not_stop_a_sweep(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        if trial.variant == "uw":
            return ("diverged" if trial.seed % 2 else "failed"), math.nan
        return hashed_value(trial)

    plan, searcher, events = make(tmp_path, 2)
    FakeTune(searcher, tmp_path, 2).run(outcome)
    statuses = {what for what, _ in events.log}
    assert {"finished", "diverged", "failed"} <= statuses
    assert plan.counts()["replicate"].left_out == 2


def test_tune_may_pickle_what_it_is_given(tmp_path: Path) -> None:
    _, searcher, _ = make(tmp_path)
    for thing in (searcher, SweepStopper(searcher, lambda: False), TuneEvents(searcher)):
        assert len(pickle.dumps(thing)) < 1000
