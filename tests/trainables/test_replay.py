from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.replay import ForwardReplay, Noise


def model():
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2), nn.Dropout(0.5)
    )


def test_same_noise_and_no_traces():
    torch.manual_seed(0)
    network, batch = model(), torch.rand(16, 4)
    replay = ForwardReplay(network)
    first = network(batch)
    replay.end_forward()
    buffers = [buffer.clone() for buffer in network.buffers()]
    torch.rand(3)  # what a method may draw between the passes
    state = torch.get_rng_state()
    with torch.no_grad(), replay:
        second = network(batch)
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(buffers, network.buffers(), strict=True))
    assert not torch.equal(first, network(batch))


def test_traces_are_removed_after_an_error():
    network, batch = model(), torch.rand(16, 4)
    replay = ForwardReplay(network)
    network(batch)
    replay.end_forward()
    buffers = [buffer.clone() for buffer in network.buffers()]
    state = torch.get_rng_state()
    network.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), torch.no_grad(), replay:
        network(batch)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(buffers, network.buffers(), strict=True))


def test_noise_of_a_seed_is_its_own():
    state = torch.get_rng_state()
    noise, other = Noise(torch.device("cpu"), seed=5), Noise(torch.device("cpu"), seed=6)
    drawn = []
    for source in (noise, noise, other):
        with source:
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(state, torch.get_rng_state())
