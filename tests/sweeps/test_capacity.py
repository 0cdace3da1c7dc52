"""How many trials fit into what a machine has."""

from __future__ import annotations

import pytest

from sweeps.definition.study import Resources
from sweeps.errors import StudyError
from sweeps.on_ray import capacity
from sweeps.on_ray.capacity import capped, fitting, local_slots


@pytest.mark.parametrize(
    ("cpus_each", "gpus_each", "cpus", "gpus", "expected"),
    [
        (1, 0.0, 2, 0, 2),
        (3, 0.0, 8, 0, 2),
        (3, 0.0, 2, 0, 0),
        (1, 1.0, 16, 2, 2),
        (1, 1.0, 16, 0, 0),
        (1, 2.0, 16, 5, 2),
        (1, 0.1, 16, 1, 10),
        (1, 0.4, 16, 2, 4),  # two on each GPU, none across both
        (8, 0.1, 16, 1, 2),
    ],
)
def test_trials_that_fit(
    cpus_each: int, gpus_each: float, cpus: int, gpus: int, expected: int
) -> None:
    resources = Resources(cpus_per_trial=cpus_each, gpus_per_trial=gpus_each)
    assert fitting(resources, cpus, gpus) == expected


def test_what_does_not_fit_is_capped_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "available_cpus", lambda: 4)
    monkeypatch.setattr(capacity, "available_gpus", lambda: 2)
    assert local_slots(Resources()) == 4
    assert local_slots(Resources(concurrent=3)) == 3
    assert capped(Resources(concurrent=3), 3) is None
    assert local_slots(Resources(gpus_per_trial=1.0, concurrent=9)) == 2
    assert "2 of 9 trials fit" in str(capped(Resources(gpus_per_trial=1.0, concurrent=9), 2))
    with pytest.raises(StudyError, match="takes 5 processors, and this machine has 4"):
        local_slots(Resources(cpus_per_trial=5))
    with pytest.raises(StudyError, match="takes 3 GPUs, and this machine has 2 that PyTorch"):
        local_slots(Resources(gpus_per_trial=3.0))
