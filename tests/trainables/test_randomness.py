# ruff: noqa: NPY002  (the global generators are what is tested)
from __future__ import annotations

import random

import numpy as np
import torch

from trainables.randomness import RandomStreams, derive_seed


def draw(streams):
    with streams.active():
        return (
            random.random(),
            float(np.random.rand()),
            torch.rand(2).tolist(),
            torch.randperm(5, generator=streams.loader).tolist(),
        )


def test_streams_depend_on_seed_and_purpose_alone():
    assert derive_seed(1, "model") == derive_seed(1, "model")
    assert len({derive_seed(s, p) for s in range(20) for p in ("model", "loader", "m")}) == 60
    assert draw(RandomStreams(4)) == draw(RandomStreams(4)) != draw(RandomStreams(5))


def test_trials_in_one_process_do_not_disturb_each_other_nor_the_caller():
    alone = RandomStreams(1)
    expected = [draw(alone) for _ in range(3)]
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    caller = (random.random(), float(np.random.rand()), torch.rand(1).item())
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    one, other = RandomStreams(1), RandomStreams(2)
    seen = []
    for _ in range(3):
        seen.append(draw(one))
        draw(other)
    assert seen == expected
    assert (random.random(), float(np.random.rand()), torch.rand(1).item()) == caller


def test_normal_variates_are_restored_too():
    """Both Python and numpy keep the second of a pair of normal variates."""
    streams = RandomStreams(1)
    with streams.active():
        random.gauss(0, 1)
        np.random.randn()
    state = streams.state_dict()
    with streams.active():
        expected = random.gauss(0, 1), np.random.randn(), random.gauss(0, 1), np.random.randn()
    again = RandomStreams(9)
    again.load_state_dict(state)
    with again.active():
        assert expected == (
            random.gauss(0, 1),
            np.random.randn(),
            random.gauss(0, 1),
            np.random.randn(),
        )
    assert draw(again) == draw(streams)
