"""Whether every machine of a cluster sees the results folder, and has room for it.

Trials write their checkpoints and records into the results folder themselves, so that it must be
the same on all machines. The driver writes a token there; a small task on each machine reads it and
writes an answer beside it, which the driver reads in turn.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.errors import RunError
from sweeps.folder.disk import DiskNeed, check_space

__all__ = ["Node", "check_nodes", "cluster_nodes"]

logger = logging.getLogger("sweeps")

_TOKEN_SECONDS = 60.0
# A network file system may show a new file late.
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes:
        name: Ray's name of it.
        address: Its address.
    """

    name: str
    address: str


def cluster_nodes() -> list[Node]:
    """The machines of the cluster that are alive and have processors for trials."""
    import ray

    nodes: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        Node(str(node["NodeID"]), str(node.get("NodeManagerAddress")))
        for node in nodes
        if node.get("Alive") and (node.get("Resources") or {}).get("CPU")
    ]


Answer = tuple[str, int]
"""What a machine says: ``""`` or what is wrong with its folder, and free bytes there."""


def check_nodes(
    folder: Path,
    nodes: Sequence[Node],
    need: DiskNeed | None = None,
    ask: Callable[[Sequence[Node], str, str], list[Answer]] | None = None,
) -> None:
    """Checks that all machines share the results folder and that the study fits on its disk.

    Args:
        folder: The results folder, as the driver sees it.
        nodes: The machines.
        need: What the study will write; not checked without it.
        ask: Asks all machines: the folder, the name of the token; for tests.

    Raises:
        RunError: If a machine does not see the folder or cannot write to it; names all of them.
        ResultsFolderError: If a machine has no room for the study.
    """
    with _token(folder) as token:
        answers = (ask or _ask)(nodes, str(folder), token)
        wrong = []
        for node, (reason, free) in zip(nodes, answers, strict=True):
            reason = reason or _answered(folder, token, node)
            if reason:
                wrong.append(f"{node.address} ({reason})")
            elif need is not None:
                check_space(folder, need, free, f" on {node.address}")
    if wrong:
        raise RunError(
            f"{len(wrong)} of {len(nodes)} nodes of the cluster cannot use the results folder "
            f"{folder}: {', '.join(wrong)}; give a folder that all nodes share with --results"
        )
    logger.info("all %d nodes of the cluster share the results folder", len(nodes))


@contextlib.contextmanager
def _token(folder: Path) -> Iterator[str]:
    name = f".token-{secrets.token_hex(8)}"
    (folder / name).write_text(name, encoding="ascii")
    try:
        yield name
    finally:
        for path in folder.glob(f"{name}*"):
            path.unlink(missing_ok=True)


def _answered(folder: Path, token: str, node: Node) -> str:
    """What is wrong if the answer of a machine is not there, else an empty text."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (folder / f"{token}-{node.name}").exists():
        if time.monotonic() > deadline:
            return "what it writes there does not arrive here"
        list(folder.iterdir())  # makes a network file system look again
        time.sleep(0.1)
    return ""


def _ask(nodes: Sequence[Node], folder: str, token: str) -> list[Answer]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    waiting = [
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node.name, soft=False)
        ).remote(folder, token, node.name, _PATIENCE_SECONDS)
        for node in nodes
    ]
    answers: list[Answer] = []
    for reference in waiting:
        try:
            answers.append(ray.get(reference, timeout=_TOKEN_SECONDS))
        except (ray.exceptions.RayError, TimeoutError) as error:
            answers.append((f"it did not answer: {type(error).__name__}", 0))
    return answers


def look(folder: str, token: str, name: str, patience: float) -> Answer:
    """Reads the token and writes an answer; runs on the machine that is asked."""
    # Imported there: this function travels by itself.
    import os
    import shutil
    import time

    deadline = time.monotonic() + patience
    path = os.path.join(folder, token)  # noqa: PTH118
    while not os.path.exists(path):  # noqa: PTH110
        if time.monotonic() > deadline:
            there = os.path.isdir(folder)  # noqa: PTH112
            return ("it has another folder of that name" if there else "it has no such folder"), 0
        time.sleep(0.2)
    try:
        with open(f"{path}-{name}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(name)
    except OSError as error:
        return f"it cannot write there: {error.strerror}", 0
    return "", shutil.disk_usage(folder).free
