"""A study on a cluster of two nodes, made in this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray_cluster import Cluster, cluster_environment

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


@pytest.fixture
def cluster():
    """A head and a second node with one processor each."""
    made = Cluster(cluster_environment())
    yield made
    made.stop()


def start(folder: Path, address: str) -> subprocess.Popen[str]:
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    command = [sys.executable, "-m", "sweeps", "run", "study.yaml"]
    return subprocess.Popen(
        [*command, "--results", "results", "--address", address],
        cwd=folder,
        env=cluster_environment(),
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
@pytest.mark.survival
def test_the_trials_of_a_node_that_is_killed_finish_on_the_other(cluster, tmp_path):
    process = start(tmp_path, cluster.address)
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
