"""Room on a cluster: nodes that come late are waited for, and asked for."""

from __future__ import annotations

from typing import Any

import pytest

import sweeps.on_ray.cluster_room as cluster_room
from sweeps.definition.study import Resources
from sweeps.errors import RunError
from sweeps.on_ray.cluster_room import cluster_slots


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    made: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(cluster_room, "_request", made.append)
    monkeypatch.setattr(cluster_room, "_LOOK_SECONDS", 0.01)
    return made


def growing(monkeypatch: pytest.MonkeyPatch, *cpus: float) -> list[float]:
    left = list(cpus)
    monkeypatch.setattr(
        cluster_room, "_there", lambda: (left.pop(0) if len(left) > 1 else left[0], 0.0)
    )
    return left


def test_without_a_number_what_is_there_is_taken(
    monkeypatch: pytest.MonkeyPatch, requests: list[Any]
) -> None:
    growing(monkeypatch, 6.0, 60.0)
    assert cluster_slots(Resources(cpus_per_trial=2)) == 3
    assert requests == []


def test_nodes_that_join_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, requests: list[Any]
) -> None:
    left = growing(monkeypatch, 0.0, 2.0, 4.0, 8.0, 16.0)
    assert cluster_slots(Resources(cpus_per_trial=2, concurrent=4)) == 4
    assert left == [16.0]  # no look too many
    assert requests == [[{"CPU": 2.0}] * 4, []]


def test_what_does_not_come_is_gone_without(
    monkeypatch: pytest.MonkeyPatch, requests: list[Any]
) -> None:
    growing(monkeypatch, 3.0)
    assert cluster_slots(Resources(concurrent=8), wait=0.05) == 3
    assert requests[-1] == []


def test_no_room_for_one_trial(monkeypatch: pytest.MonkeyPatch, requests: list[Any]) -> None:
    growing(monkeypatch, 1.0)
    with pytest.raises(RunError, match="the cluster has 1 CPUs and 0 GPUs, not enough for one"):
        cluster_slots(Resources(cpus_per_trial=2), wait=0.05)
    assert requests[-1] == []
