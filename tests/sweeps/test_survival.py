"""What a study survives, on Ray, in processes of their own; counts are printed (``pytest -s``).

``python -m pytest -m survival --full -s`` runs all of it in full: ten kills of one study, and three
of a study of 300 trials, beside what runs always.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ray_cluster import VARIABLES, Cluster

pytestmark = [pytest.mark.slow, pytest.mark.survival]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROBLEM = {
    "name": "multi_digits",
    "tasks": "CL_RR",
    "train_pairs": 512,
    "validation_pairs": 128,
    "test_pairs": 128,
}
STUDY: dict[str, Any] = {
    "name": "survivor",
    "problem": PROBLEM,
    "protocol": {"epochs": 4, "batch_size": 64},
    "search_space": {"lr": {"low": 0.0005, "high": 0.01, "log": True}},
    "methods": ["ls", "fairgrad"],
    "budget": {"trials": 4},
    "replicate": {"seeds": 2},
    "selection": "loss",
    "sampler": {"name": "tpe", "startup_trials": 2},
    "resources": {"concurrent": 1, "checkpoint_every_seconds": 0.0},
}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("resilience", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["resilience"] = module
    spec.loader.exec_module(module)
    return module


resilience = load(ROOT / "docs" / "studies" / "resilience" / "run.py")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def write_study(folder: Path, **changes: Any) -> Path:
    path = folder / "study.yaml"
    data = {k: v for k, v in {**STUDY, **changes}.items() if v is not None}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def fairsweep(*arguments: object, timeout: float = 300.0) -> tuple[int, str, str]:
    done = subprocess.run(
        [*resilience.FAIRSWEEP, *map(str, arguments)],
        env=resilience.environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def wait_for_records(results: Path, process: subprocess.Popen[bytes], count: int) -> None:
    deadline = time.monotonic() + 200
    while len(resilience.records(results)) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in resilience.records(results)]


def tell(title: str, counts: dict[str, Any]) -> None:
    listed = ", ".join(f"{what} {count}" for what, count in counts.items())
    sys.stdout.write(f"\n{title}: {listed}\n")


def test_killed_damaged_and_continued_it_is_the_same_study(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    assert resilience.finish(resilience.start(study, tmp_path / "whole", tmp_path / "w")) == 0
    results = tmp_path / "killed"
    damaged: list[str] = []

    def damage(number: int) -> None:
        """Cuts a record in half, and cuts or changes the checkpoint of an unfinished trial."""
        record = resilience.records(results)[0]
        record.write_bytes(record.read_bytes()[: record.stat().st_size // 2])
        damaged.append(record.name)
        for path in results.glob("checkpoints/*/last.pt"):
            body = bytearray(path.read_bytes())
            if number == 1:
                body = body[: len(body) // 2]
            else:
                body[len(body) // 2] ^= 4
            path.write_bytes(body)

    moments = [(3, 0.4), (8, 0.7)]
    kills, code, outputs = resilience.kill_and_continue(study, results, moments, damage)
    said = [output.read_text(encoding="utf-8") for output in outputs]
    assert code == 0, said[-1]
    counts = resilience.survey(results, tmp_path / "whole", kills)
    tell("killed twice, two records cut, checkpoints cut and changed", counts)
    for name, text in zip(damaged, said[1:], strict=True):
        assert f"{name} is no JSON" in text
        assert "its trial counts as not run" in text
    # Those that were damaged ran again, and nothing else did.
    again = counts.pop("ended before a kill and run again")
    assert again == len(set(damaged))
    assert resilience.is_whole({**counts, "ended before a kill and run again": 0})
    assert counts["trials planned"] == 12
    assert resilience.left_over(kills) == []


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "kills"), [("ten_kills.yaml", 10), ("study.yaml", 3)])
def test_killed_at_many_random_moments_it_is_the_same_study(
    tmp_path: Path, name: str, kills: int
) -> None:
    """The driver killed with SIGKILL at seeded random moments, and continued each time at once."""
    study = ROOT / "docs" / "studies" / "resilience" / name
    assert resilience.finish(resilience.start(study, tmp_path / "whole", tmp_path / "w")) == 0
    planned = len(resilience.records(tmp_path / "whole"))
    moments = resilience.moments(planned, kills, seed=1)
    killed, code, outputs = resilience.kill_and_continue(study, tmp_path / "killed", moments)
    assert code == 0, outputs[-1].read_text(encoding="utf-8")
    assert len(killed) == kills
    counts = resilience.survey(tmp_path / "killed", tmp_path / "whole", killed)
    tell(f"{name}, killed {kills} times", counts)
    assert counts["trials planned"] == planned
    assert resilience.is_whole(counts)
    assert resilience.left_over(killed) == []


@pytest.fixture
def misbehaving_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Two nodes of one processor each, whose workers know methods that raise and hang."""
    paths = os.pathsep.join((str(HERE / "misbehaving"), str(ROOT)))
    for name, value in {**VARIABLES, "PYTHONPATH": paths}.items():
        monkeypatch.setenv(name, value)
    made = Cluster(dict(os.environ))
    yield made.address
    made.stop()


def test_methods_that_raise_or_hang_stop_no_others(
    tmp_path: Path, misbehaving_cluster: str
) -> None:
    study = write_study(
        tmp_path,
        methods=["ls", "raising", "hanging"],
        budget={"trials": 2},
        replicate={"seeds": 1},
        sampler="random",
        resources={"concurrent": 2, "stall_seconds": 10.0, "retries": 1},
    )
    results = tmp_path / "results"
    address = ("--address", misbehaving_cluster)
    code, out, err = fairsweep("run", study, "--results", results, *address)
    assert code == 3, (out, err)
    assert err == ""
    by_method: dict[str, Counter[str]] = {}
    for record in read(results):
        error = record["error"] or {"type": "none", "traceback": ""}
        name = record["spec"]["method"]["name"]
        by_method.setdefault(name, Counter())[f"{record['status']} {error['type']}"] += 1
        if name == "raising":
            assert "RuntimeError: made to raise" in error["traceback"]
        if name == "hanging":
            assert "sitecustomize.py" in error["traceback"]  # where it hangs
            assert "(resources.stall_seconds), at attempt 2" in error["message"]
    tell("methods that raise and hang", {k: dict(v) for k, v in by_method.items()})
    assert by_method == {
        "ls": Counter({"finished none": 3}),
        "raising": Counter({"failed RuntimeError": 2}),
        "hanging": Counter({"failed Stalled": 2}),
    }
    # Two trials, two attempts each; the driver kills workers of its own node and of the other.
    lines = [line for line in out.splitlines() if "has made no progress for" in line]
    assert sum(line.startswith("search hanging") for line in lines) == 4
    assert "all 2 nodes of the cluster share the results folder" in out
    assert "4 trials failed" in out
    assert "exit code 3" in out
    for variant in ("raising", "hanging"):
        assert f"replicate of {variant} was left out" in out
    assert list((results / "running").iterdir()) == []
    code, out, _ = fairsweep("status", results, "--json")
    told = json.loads(out)
    assert told["errors"] == {"failed: RuntimeError": 2, "failed: Stalled": 2}
    assert told["states"] == {"finished": 3, "failed": 4, "left out": 2}
    assert told["complete"] is False


def test_from_another_shell_a_run_is_shown_guarded_and_stopped(tmp_path: Path) -> None:
    # Long enough for four other commands to start beside it.
    study = write_study(tmp_path, protocol={"epochs": 60, "batch_size": 32}, budget={"trials": 12})
    results = tmp_path / "results"
    process = resilience.start(study, results, tmp_path / "out")
    wait_for_records(results, process, 1)
    code, out, _ = fairsweep("status", results, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["alive"] is True
    assert told["run"]["pid"] == process.pid
    assert 1 <= told["states"]["finished"] < told["planned"] == 28
    before = {path: path.read_bytes() for path in resilience.records(results)}
    code, out, err = fairsweep("run", study, "--results", results)
    assert code == 2
    assert "another run is writing to results folder" in err
    assert f"(process {process.pid} on " in err
    asked = time.monotonic()
    code, out, err = fairsweep("stop", results)
    assert code == 0, (out, err)
    assert process.wait(timeout=20) == 143
    tell("stopped from another shell", {"seconds": round(time.monotonic() - asked, 1)})
    for path, content in before.items():
        assert path.read_bytes() == content
    said = (tmp_path / "out").read_text(encoding="utf-8")
    assert "Continue with: fairsweep run" in said
    assert all(record["status"] == "finished" for record in read(results))
    told = json.loads(fairsweep("status", results, "--json")[1])
    assert told["alive"] is False
    assert told["running"] == []


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk cannot be mounted here: that takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_sweep_which_continues_when_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    study, results = write_study(tmp_path), disk / "results"
    with small_disk(disk, "24m"):
        process = resilience.start(study, results, tmp_path / "out")
        wait_for_records(results, process, 3)
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        assert process.wait(timeout=200) == 3
        said = (tmp_path / "out").read_text(encoding="utf-8")
        assert "make room and run the same command again to continue" in said
        assert "Traceback" not in said
        kept = {path: path.read_bytes() for path in resilience.records(results)}
        # Nothing that is there is half written, and it can be looked at.
        assert all(json.loads(content)["status"] == "finished" for content in kept.values())
        code, out, _ = fairsweep("status", results, "--json")
        assert code == 0
        told = json.loads(out)
        assert told["states"]["finished"] == len(kept) >= 3
        assert told["damaged"] == []
        # Still full: refused before anything starts, and as before.
        code, out, err = fairsweep("run", study, "--results", results)
        assert code in {2, 3}
        assert err.count("\n") == 1
        ballast.unlink()
        code, out, err = fairsweep("run", study, "--results", results)
        assert code == 0, (out, err)
        statuses = Counter(record["status"] for record in read(results))
        tell("a full disk", {"kept": len(kept), "then": dict(statuses)})
        assert statuses == Counter({"finished": 12})
        for path, content in kept.items():
            assert path.read_bytes() == content


def test_a_study_that_does_not_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m"):
        code, out, err = fairsweep(
            "run", write_study(tmp_path), "--results", tmp_path / "disk" / "results"
        )
        assert code == 2
        assert "the study needs about" in err
        assert "make room" in err
        assert not (tmp_path / "disk" / "results").exists()
        assert out == ""
