"""A study on a cluster of two nodes, made in this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
name: two-nodes
problem: {name: toy, steps_per_epoch: 60}
protocol: {epochs: 40, batch_size: 1}
search_space: {lr: {low: 0.001, high: 0.1, log: true}}
methods: [ls, cagrad]
budget: {trials: 3}
sampler: random
selection: loss
resources: {checkpoint_every_seconds: 0}
"""
TRIALS = 6


class Cluster:
    """Two nodes in a process of their own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("two_nodes.py"))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._answer("address ")

    def kill_second_node(self) -> None:
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        self._answer("killed")

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)

    def _answer(self, start: str) -> str:
        for line in self._process.stdout:
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError("the cluster ended")


@pytest.fixture
def environment():
    """Ray's token among the variables, as on a cluster that was started with it."""
    return {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_worker_niceness": "0",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def cluster(environment):
    """A head and a second node with one processor each."""
    made = Cluster(environment)
    yield made
    made.stop()


def start(folder: Path, address: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "sweeps",
        "run",
        "study.yaml",
    ]
    return subprocess.Popen(
        [*command, "--results", "results", "--address", address],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def records(folder: Path) -> list[dict[str, object]]:
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((folder / "results" / "ledger").glob("*.json"))
    ]


def wait_until(condition, process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.2)


@pytest.mark.slow
def test_the_trials_of_a_node_that_is_killed_finish_on_the_other(cluster, environment, tmp_path):
    process = start(tmp_path, cluster.address, environment)
    try:
        # Two trials at work, and a checkpoint of each.
        wait_until(lambda: len(list(tmp_path.glob("results/checkpoints/*/last.pt"))) >= 2, process)
        before = len(records(tmp_path))
        cluster.kill_second_node()
        printed, _ = process.communicate(timeout=240)
    finally:
        process.kill()
        process.wait()
    assert before < TRIALS
    assert process.returncode == 0, printed
    ended = records(tmp_path)
    assert len(ended) == TRIALS
    for record in ended:
        assert record["status"] == "finished"
        assert [row["epoch"] for row in record["epochs"]] == list(range(1, 41))
    log = (tmp_path / "results" / "fairsweep.log").read_text(encoding="utf-8")
    assert "with 2 slots" in log
    assert "a worker died; its trial is taken up again" in log
