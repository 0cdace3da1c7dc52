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
from ray_cluster import Cluster, cluster_environment

pytestmark = [pytest.mark.slow, pytest.mark.survival]

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
def cluster(tmp_path: Path) -> Iterator[str]:
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
    made = Cluster(cluster_environment())
    ray = f'"{sys.executable}" -m ray.scripts.scripts start --address {made.address} --num-cpus 1'
    node = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"{mount} && exec {ray} --block"],
        env=cluster_environment(),
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


def nodes_of(address: str) -> int:
    code = (
        "import ray, logging\n"
        f"ray.init(address={address!r}, logging_level=logging.ERROR, log_to_driver=False)\n"
        "print(sum(n['Alive'] for n in ray.nodes()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=cluster_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def test_the_node_that_does_not_see_the_folder_is_named(tmp_path: Path, cluster: str) -> None:
    deadline = time.monotonic() + 120
    while nodes_of(cluster) < 3:
        assert time.monotonic() < deadline
        time.sleep(1.0)
    study = tmp_path / "study.yaml"
    study.write_text(STUDY, encoding="utf-8")
    results = tmp_path / "disk" / "results"
    command = [sys.executable, "-m", "sweeps", "run", str(study)]
    done = subprocess.run(
        [*command, "--results", str(results), "--address", cluster],
        env=cluster_environment(),
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
