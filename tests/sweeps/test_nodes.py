"""Whether all machines of a cluster share the results folder, and have room in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sweeps.errors import ResultsFolderError, RunError
from sweeps.folder.disk import DiskNeed
from sweeps.on_ray import nodes
from sweeps.on_ray.nodes import Answer, Node, check_nodes, look

NODES = [Node("a", "10.0.0.1"), Node("b", "10.0.0.2")]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_PATIENCE_SECONDS", 0.3)


def on(*folders: Path) -> object:
    """Asks as if each machine saw a folder of its own under the name of the results folder."""

    def ask(machines: Sequence[Node], folder: str, token: str) -> list[Answer]:
        return [
            look(str(mine), token, machine.name, 0.3)
            for machine, mine in zip(machines, folders, strict=True)
        ]

    return ask


def test_a_shared_folder_is_fine_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    check_nodes(tmp_path, NODES, DiskNeed(1.0, 1.0, 1.0), on(tmp_path, tmp_path))  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_machines_that_do_not_see_the_folder_are_named(tmp_path: Path) -> None:
    results, other = tmp_path / "results", tmp_path / "other"
    results.mkdir()
    other.mkdir()
    with pytest.raises(RunError) as caught:
        check_nodes(results, NODES, None, on(results, other))  # type: ignore[arg-type]
    message = str(caught.value)
    assert "1 of 2 nodes" in message
    assert "10.0.0.2 (it has another folder of that name)" in message
    assert "10.0.0.1" not in message
    assert "a folder that all nodes share with --results" in message
    with pytest.raises(RunError, match=r"10\.0\.0\.1 \(it has no such folder\), 10\.0\.0\.2"):
        check_nodes(results, NODES, None, on(tmp_path / "x", tmp_path / "y"))  # type: ignore[arg-type]
    assert list(results.iterdir()) == []


def test_an_answer_that_does_not_arrive_is_found(tmp_path: Path) -> None:
    def ask(machines: Sequence[Node], folder: str, token: str) -> list[Answer]:
        return [("", 10**12) for _ in machines]  # they saw a copy, and wrote into it

    with pytest.raises(RunError, match="what it writes there does not arrive here"):
        check_nodes(tmp_path, NODES, None, ask)


def test_a_machine_without_room_is_named(tmp_path: Path) -> None:
    def ask(machines: Sequence[Node], folder: str, token: str) -> list[Answer]:
        for machine in machines:
            (tmp_path / f"{token}-{machine.name}").touch()
        return [("", 10**12), ("", 10**6)]

    with pytest.raises(ResultsFolderError, match=r"1 MB are free on 10\.0\.0\.2"):
        check_nodes(tmp_path, NODES, DiskNeed(1e9, 0.0, 0.0), ask)
