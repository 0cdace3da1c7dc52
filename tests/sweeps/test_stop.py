"""``fairsweep stop``: a request in the results folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sweeps_fakes import resolved_study

import sweeps.commands.cli
from sweeps.folder.liveness import RunFacts, is_locked, read_run, write_run
from sweeps.folder.results import ResultsFolder
from sweeps.running import stopping
from sweeps.running.stop_file import ask_to_stop, clear_stop, watch_for_stop
from sweeps.running.stopping import StopRequest


def stop(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["fairsweep", "stop", *arguments])
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    return int(caught.value.code or 0)


def wait_for(condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_request_stops_as_sigterm_does(tmp_path: Path) -> None:
    request = StopRequest()
    with request, watch_for_stop(tmp_path, request.ask):
        assert not request.requested
        ask_to_stop(tmp_path)
        wait_for(lambda: request.requested)
    assert request.signal == signal.SIGTERM
    assert not (tmp_path / "stop").exists()


def test_a_signal_that_came_first_is_the_one_that_counts() -> None:
    request = StopRequest()
    request.ask(signal.SIGINT)
    request.ask()
    assert request.signal == signal.SIGINT


BLOCKED = """
import ctypes, sys
from sweeps.running import stopping
stopping._LIMIT_SECONDS = float(sys.argv[1])
with stopping.StopRequest() as request:
    print("ready", flush=True)
    library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    for _ in range(2):  # nothing wakes the second one, as in Ray
        library.pthread_mutex_lock(lock)
"""


@pytest.mark.parametrize(("limit", "signals"), [(1.0, 1), (60.0, 2)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_main_thread_that_waits_in_a_library_is_ended(
    limit: float, signals: int, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKED, str(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(signals):
        process.send_signal(number)
        time.sleep(0.3)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert ("run the same command again" in said) == (signals == 1)


def test_an_orderly_end_is_not_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(stopping, "_LIMIT_SECONDS", 0.2)
    monkeypatch.setattr(stopping.os, "_exit", ended.append)
    with StopRequest() as request:
        signal.raise_signal(signal.SIGTERM)
        wait_for(lambda: request.requested)
    request.over()
    time.sleep(0.5)
    assert request.signal == signal.SIGTERM
    assert not ended


def test_a_request_that_is_left_from_before_stops_nothing(tmp_path: Path) -> None:
    ask_to_stop(tmp_path)
    request = StopRequest()
    with request, watch_for_stop(tmp_path, request.ask):
        time.sleep(1.2)
        assert not request.requested


def test_stop_waits_until_the_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = threading.Event()

    def run() -> None:
        with ResultsFolder(tmp_path / "r", resolved_study()) as folder:
            write_run(folder.path, RunFacts.here(2))
            with watch_for_stop(folder.path, asked.set):
                ready.set()
                asked.wait(20)
            time.sleep(0.5)

    ready = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(20)
    assert stop(str(tmp_path / "r"), monkeypatch=monkeypatch) == 0
    assert not is_locked(tmp_path / "r")
    thread.join()
    assert "has stopped; run the study again to continue" in capsys.readouterr().out
    assert not (tmp_path / "r" / "stop").exists()


def test_what_cannot_be_stopped_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stop(str(tmp_path / "nothing"), monkeypatch=monkeypatch) == 2
    assert "no manifest.json" in capsys.readouterr().err
    with ResultsFolder(tmp_path / "r", resolved_study()):
        pass
    assert stop(str(tmp_path / "r"), monkeypatch=monkeypatch) == 2
    assert "there is none to stop" in capsys.readouterr().err
    with ResultsFolder(tmp_path / "r", resolved_study()):
        assert stop(str(tmp_path / "r"), "--wait", "0.3", monkeypatch=monkeypatch) == 3
    assert "still alive after 0.3 s" in capsys.readouterr().out


def test_looking_at_the_lock_keeps_no_run_from_beginning(tmp_path: Path) -> None:
    with ResultsFolder(tmp_path / "r", resolved_study()):
        pass
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            is_locked(tmp_path / "r")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(10):
            with ResultsFolder(tmp_path / "r", resolved_study()):
                pass
    finally:
        over.set()
        thread.join()


def test_facts_of_a_run_survive_a_round_trip_and_damage(tmp_path: Path) -> None:
    facts = RunFacts.here(3)
    write_run(tmp_path, facts)
    assert read_run(tmp_path) == facts
    assert facts.age < 60
    for text in ("", "[]", "{}", '{"host": 1, "pid": 2, "slots": 3, "started": "when"}'):
        (tmp_path / "run.json").write_text(text, encoding="utf-8")
        assert read_run(tmp_path) is None
    clear_stop(tmp_path)  # nothing there
