"""A Ray cluster of two nodes in a process of its own, and the variables that reach it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# As on a cluster that was started with a token.
VARIABLES = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    "RAY_worker_niceness": "0",
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}


def cluster_environment() -> dict[str, str]:
    """The variables of this process, with the cluster's."""
    return {**os.environ, **VARIABLES}


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
