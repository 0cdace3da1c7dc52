"""A cluster whose nodes do not share the results folder: said before any trial, by node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cluster import Cluster

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
name: unshared
problem: {name: toy, steps_per_epoch: 10}
protocol: {epochs: 2, batch_size: 1}
methods: [ls]
budget: {trials: 2}
search_space: {lr: {low: 0.001, high: 0.1, log: true}}
sampler: random
selection: loss
"""


@pytest.fixture
def environment() -> dict[str, str]:
    return {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_worker_niceness": "0",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def cluster(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """Two nodes that share everything, and one that has another disk at ``tmp_path/disk``."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs tmpfs "{disk}"'
    try_it = ["unshare", "-m", "sh", "-c", mount]
    if (
        shutil.which("unshare") is None
        or subprocess.run(try_it, capture_output=True, check=False).returncode
    ):
        pytest.skip("a node with another disk cannot be made here: that takes root")
    made = Cluster(environment)
    ray = f'"{sys.executable}" -m ray.scripts.scripts start --address {made.address} --num-cpus 1'
    node = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"{mount} && exec {ray} --block"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield made.address
    finally:
        os.killpg(node.pid, signal.SIGTERM)
        node.wait(timeout=60)
        made.stop()


def nodes_of(address: str, environment: dict[str, str]) -> int:
    code = (
        "import ray, logging\n"
        f"ray.init(address={address!r}, logging_level=logging.ERROR, log_to_driver=False)\n"
        "print(sum(n['Alive'] for n in ray.nodes()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


def test_the_node_that_does_not_see_the_folder_is_named(
    tmp_path: Path, cluster: str, environment: dict[str, str]
) -> None:
    deadline = time.monotonic() + 120
    while nodes_of(cluster, environment) < 3:
        assert time.monotonic() < deadline
        time.sleep(1.0)
    study = tmp_path / "study.yaml"
    study.write_text(STUDY, encoding="utf-8")
    results = tmp_path / "disk" / "results"
    command = [
        sys.executable,
        "-m",
        "sweeps",
        "run",
        str(study),
    ]
    done = subprocess.run(
        [*command, "--results", str(results), "--address", cluster],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "1 of 3 nodes of the cluster cannot use the results folder" in done.stderr
    assert "(it has no such folder)" in done.stderr
    assert "share with --results" in done.stderr
    assert list((results / "ledger").iterdir()) == []
    assert not list(results.glob(".token*"))
