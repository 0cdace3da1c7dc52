from __future__ import annotations

import math

import pytest
import torch

from trainables.schedules import SCHEDULES, make_schedule


def rates(settings, *, epochs=6, selection=lambda epoch: float(epoch), reload_after=None):
    def start():
        parameter = torch.nn.Parameter(torch.zeros(1))
        other = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD(
            [{"params": [parameter]}, {"params": [other], "lr": 0.1}], lr=1.0
        )
        return optimizer, make_schedule(settings).start(optimizer, epochs)

    optimizer, rate = start()
    seen = []
    for epoch in range(epochs):
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        rate.step(selection(epoch))
        if epoch == reload_after:
            saved = optimizer.state_dict(), rate.state_dict()
            optimizer, rate = start()
            optimizer.load_state_dict(saved[0])
            rate.load_state_dict(saved[1])
    return seen


def test_curves():
    assert rates(None) == rates({"name": "none"}) == [(1.0, 0.1)] * 6
    exponential = rates({"name": "exponential", "gamma": 0.5})
    assert [first for first, _ in exponential] == [0.5**e for e in range(6)]
    assert [second for _, second in exponential] == pytest.approx([0.1 * 0.5**e for e in range(6)])
    step = rates({"name": "step", "step_size": 2, "gamma": 0.1})
    assert [first for first, _ in step] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = rates({"name": "cosine"})
    expected = [0.5 * (1 + math.cos(math.pi * e / 6)) for e in range(6)]
    assert [first for first, _ in cosine] == pytest.approx(expected)


def test_plateau_follows_the_selection_measure_upwards():
    settings = {"name": "plateau", "factor": 0.5, "patience": 1}
    rising = rates(settings, selection=float)
    assert rising == [(1.0, 0.1)] * 6
    falling = rates(settings, selection=lambda epoch: -float(epoch))
    assert [first for first, _ in falling] == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_restored_schedules_go_on_alike(name):
    settings = {"name": name, **({"patience": 1} if name == "plateau" else {})}
    for after in range(5):
        assert rates(settings, selection=lambda e: -float(e), reload_after=after) == rates(
            settings, selection=lambda e: -float(e)
        )
