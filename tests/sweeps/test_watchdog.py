"""Trials that hang: who is killed, and what is recorded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sweeps_fakes import make_plan, resolved_study

from sweeps.definition.study import Resources
from sweeps.errors import RunError
from sweeps.on_ray.searcher import PlanSearcher
from sweeps.on_ray.watchdog import Stall, Watchdog, _kill, clear_signs, forget_signs, kill_worker
from trainables.heartbeat import Heartbeat, heartbeat_path, trace_path


class Killed:
    """Notes whom it is asked to kill."""

    def __init__(self, refuses: bool = False) -> None:
        self.trials: list[str] = []
        self.refuses = refuses

    def __call__(self, sign: Any) -> None:
        self.trials.append(sign["trial_id"])
        if self.refuses:
            raise RunError("it is not there")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("sweeps.on_ray.watchdog.time.monotonic", lambda: now[0])
    return now


def later(path: Path, seconds: float) -> None:
    moved = path.stat().st_mtime + seconds
    os.utime(path, (moved, moved))


def test_only_the_trial_without_signs_loses_its_worker(tmp_path: Path, clock: list[float]) -> None:
    hearts = [Heartbeat(tmp_path, name) for name in ("hangs", "works")]
    trace_path(tmp_path, "hangs").write_text("in a loop\n", encoding="utf-8")
    killed = Killed()
    dog = Watchdog(tmp_path, 60.0, killed)
    for clock[0] in (0.0, 30.0, 59.0, 61.0, 65.0, 90.0):
        later(heartbeat_path(tmp_path, "works"), 1.0)
        dog.look()
    assert killed.trials == ["hangs"]  # once
    assert dog.stalls == {"hangs": Stall("hangs", 61.0, "in a loop")}
    for heart in hearts:
        heart.end()


def test_clocks_of_other_machines_do_not_matter(tmp_path: Path, clock: list[float]) -> None:
    heart = Heartbeat(tmp_path, "a")
    os.utime(heartbeat_path(tmp_path, "a"), (0, 0))  # 1970
    killed = Killed()
    dog = Watchdog(tmp_path, 60.0, killed)
    for clock[0] in (0.0, 50.0):
        dog.look()
    later(heartbeat_path(tmp_path, "a"), 1.0)
    for clock[0] in (55.0, 100.0):
        dog.look()
    assert killed.trials == []
    heart.end()


def test_a_worker_that_cannot_be_killed_is_no_stall(tmp_path: Path, clock: list[float]) -> None:
    heart = Heartbeat(tmp_path, "a")
    dog = Watchdog(tmp_path, 60.0, Killed(refuses=True))
    for clock[0] in (0.0, 61.0):
        dog.look()
    assert dog.stalls == {}
    heart.end()


def test_without_a_limit_nobody_is_watched(tmp_path: Path, clock: list[float]) -> None:
    heart = Heartbeat(tmp_path, "a")
    killed = Killed()
    with Watchdog(tmp_path, None, killed) as dog:
        for clock[0] in (0.0, 1e9):
            dog.look()
    assert killed.trials == []
    heart.end()


def test_the_watch_itself(tmp_path: Path) -> None:
    heart = Heartbeat(tmp_path, "a")
    killed = Killed()
    with Watchdog(tmp_path, 0.2, killed):
        deadline = time.monotonic() + 10
        while not killed.trials and time.monotonic() < deadline:
            time.sleep(0.02)
    assert killed.trials == ["a"]
    heart.end()


def test_a_process_that_is_no_worker_is_left_alone() -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        _kill(other.pid)
        time.sleep(0.1)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("sign", [{}, {"pid": "1", "node": "n"}, {"pid": 1, "node": "n"}])
def test_a_sign_that_names_no_process_kills_nothing(sign: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="does not say which process"):
        kill_worker(sign)


def test_what_is_left_of_signs_is_removed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Heartbeat(tmp_path, name)
        trace_path(tmp_path, name).touch()
    forget_signs(tmp_path, "a")
    assert sorted(p.name for p in (tmp_path / "running").iterdir()) == ["b.json", "b.trace"]
    clear_signs(tmp_path)
    assert list((tmp_path / "running").iterdir()) == []


class Events:
    def started(self, trial: Any) -> None: ...
    def progressed(self, trial: Any, epoch: int) -> None: ...
    def ended(self, trial: Any, record: Any) -> None: ...


@pytest.mark.parametrize("retries", [0, 2])
def test_a_trial_that_always_stalls_is_recorded_with_its_place(
    retries: int, tmp_path: Path
) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    stalls: dict[str, Stall] = {}
    first = plan.next()
    assert first is not None
    searcher = PlanSearcher(
        plan,
        tmp_path,
        resources=Resources(retries=retries),
        slots=1,
        events=Events(),
        first=first,
        stalls=stalls,
    )
    for attempt in range(retries + 1):
        searcher.on_result("rest", {"pid": attempt, "node_ip": "here"})
        config = searcher.suggest(f"ray{attempt}")
        assert isinstance(config, dict)
        assert config["trial_id"] == first.trial_id
        assert config["stall_s"] == 3600.0
        Heartbeat(tmp_path, first.trial_id)
        stalls[first.trial_id] = Stall(first.trial_id, 3601.0, 'File "loop.py", line 3')
        assert plan.ledger.get(first.trial_id) is None
        searcher.on_trial_complete(f"ray{attempt}", None, error=True)
        assert stalls == {}
        assert list((tmp_path / "running").iterdir()) == []
    record = plan.ledger.get(first.trial_id)
    assert record is not None
    assert record.status == "failed"
    assert record.error["type"] == "Stalled"
    assert record.error["traceback"] == 'File "loop.py", line 3'
    assert f"for 3601 s (resources.stall_seconds), at attempt {retries + 1}" in str(
        record.error["message"]
    )


def test_stalls_are_no_deaths_of_workers_that_cannot_start(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    stalls: dict[str, Stall] = {}
    first = plan.next()
    assert first is not None
    searcher = PlanSearcher(
        plan,
        tmp_path,
        resources=Resources(retries=0),
        slots=1,
        events=Events(),
        first=first,
        stalls=stalls,
    )
    searcher.on_result("rest", {"pid": 1, "node_ip": "here"})
    for number in range(12):
        config = searcher.suggest(f"ray{number}")
        assert isinstance(config, dict)
        if "trial_id" in config:
            stalls[config["trial_id"]] = Stall(config["trial_id"], 1.0, None)
            searcher.on_trial_complete(f"ray{number}", None, error=True)
            searcher.on_result("rest", {"pid": number, "node_ip": "here"})
    assert searcher.failure is None
