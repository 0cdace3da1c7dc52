"""Signs of life of a running trial."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from trainables.data import DataCache, count_items
from trainables.evaluation import evaluate
from trainables.heartbeat import Heartbeat, heartbeat_path, read_heartbeat, trace_path
from trainables.session import TrialSession


@pytest.fixture
def clock(monkeypatch):
    """A clock that is turned by hand."""
    now = [100.0]
    monkeypatch.setattr("trainables.heartbeat.time.monotonic", lambda: now[0])
    return now


def age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def test_a_sign_says_who_and_how_far_and_moves_with_steps(tmp_path, clock):
    heart = Heartbeat(tmp_path, "abc", {"label": "ls seed 0"})
    path = heartbeat_path(tmp_path, "abc")
    sign = read_heartbeat(path)
    assert sign["label"] == "ls seed 0"
    assert (sign["trial_id"], sign["pid"], sign["epoch"]) == ("abc", os.getpid(), 0)
    os.utime(path, (0, 0))
    heart.beat()  # too soon to be worth a call of the system
    assert age(path) > 1000
    clock[0] += 6.0
    heart.beat()
    assert age(path) < 100
    clock[0] += 1.0
    heart.completed(3)
    assert read_heartbeat(path)["epoch"] == 3
    heart.end()
    assert list(path.parent.iterdir()) == []


def test_steps_of_a_session_are_signs(make_spec, data, tmp_path):
    calls = []
    spec = make_spec(epochs=2, batch_size=80)
    data.tensors(spec.make_problem())  # loaded already
    TrialSession(spec, data, on_progress=lambda: calls.append(1)).run()
    steps, parts = 2 * 320 // 80, 3 * 2  # before, between and after making ready and training
    validated = 2  # in one batch each epoch
    assert len(calls) == steps + parts + validated


def test_long_evaluations_and_loading_are_signs_of_life(make_spec, data, tmp_path, clock):
    """Nothing that takes long is longer without a sign than one of its parts."""
    spec = make_spec(epochs=1, batch_size=320, evaluate_test=True)
    heart, path = Heartbeat(tmp_path, "abc"), heartbeat_path(tmp_path, "abc")
    gaps: list[float] = []
    problem = spec.make_problem()
    splits = {problem.key: problem.load(None)}

    def progress():
        clock[0] += 10.0  # as long as each part takes
        os.utime(path, (0, 0))
        heart.beat()
        gaps.append(age(path))

    cache = DataCache(splits)
    cache.tensors(problem, progress)
    arrays = sum(len(arrays) for arrays in splits[problem.key].values())
    assert len(gaps) == arrays > 1
    tensors = cache.tensors(problem, progress)
    assert len(gaps) == arrays  # they are there already
    model, metrics = problem.build_model(seed=0), problem.make_metrics()
    alone = evaluate(problem, model, tensors["validation"], metrics, 16)
    watched = evaluate(problem, model, tensors["validation"], metrics, 16, on_progress=progress)
    assert watched == alone
    batches = -(-count_items(tensors["validation"]) // 16)
    assert len(gaps) == arrays + batches
    assert max(gaps) < 100  # each of them moved the sign
    heart.end()


def test_a_sign_that_was_removed_comes_back(tmp_path, clock):
    heart = Heartbeat(tmp_path, "abc")
    heartbeat_path(tmp_path, "abc").unlink()
    clock[0] += 6.0
    heart.beat()
    assert read_heartbeat(heartbeat_path(tmp_path, "abc")) is not None
    heart.end()


def test_a_full_disk_does_not_fail_the_trial(tmp_path, clock, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainables.heartbeat.write_atomically", full)
    heart = Heartbeat(tmp_path, "abc", stall_s=60.0)
    clock[0] += 60.0
    heart.beat()
    heart.completed(1)
    heart.end()


def test_the_place_of_a_hang_is_noted_by_a_thread_of_its_own(tmp_path):
    heart = Heartbeat(tmp_path, "abc", stall_s=0.25)
    time.sleep(0.6)  # hangs here
    text = trace_path(tmp_path, "abc").read_text(encoding="utf-8")
    heart.end()
    assert "test_the_place_of_a_hang_is_noted" in text
    assert not trace_path(tmp_path, "abc").exists()


def test_a_damaged_sign_is_none(tmp_path):
    path = tmp_path / "x.json"
    assert read_heartbeat(path) is None
    for content in (b"{", b"[1]", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        assert read_heartbeat(path) is None
