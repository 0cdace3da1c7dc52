"""What else has a tensor's memory is noticed, whatever it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtl_methods.exact_gram import memory
from mtl_methods.exact_gram.memory import is_sole_owner

OTHERS = {
    "view": lambda x: x.view(-1),
    "slice": lambda x: x[1:],
    "detached": lambda x: x.detach(),
    "data": lambda x: x.data,
    "storage": lambda x: x.untyped_storage(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_owner_is_noticed_as_long_as_it_lives(name):
    tensor = torch.ones(3, 4)
    assert is_sole_owner(tensor)
    other = OTHERS[name](tensor)
    assert not is_sole_owner(tensor)
    del other
    assert is_sole_owner(tensor)


FOREIGN = {
    "numpy": lambda: torch.from_numpy(np.zeros(6)),
    "buffer": lambda: torch.frombuffer(bytearray(24), dtype=torch.float32),
    "dlpack": lambda: torch.from_dlpack(np.zeros(6)),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_memory_of_others_is_not_owned(name):
    assert not is_sole_owner(FOREIGN[name]())


@pytest.mark.parametrize("turn", [False, True])
def test_an_array_of_it_is_noticed_and_not_forgotten(turn):
    tensor = torch.ones(3, 4)
    array = (tensor.t() if turn else tensor).numpy()
    assert not is_sole_owner(tensor)
    del array
    assert not is_sole_owner(tensor)


def test_the_owner_may_be_the_tensor_that_it_was_made_from():
    given = torch.ones(3, 4)
    own = given.unsqueeze(0).detach()
    assert not is_sole_owner(own)
    del given
    assert is_sole_owner(own)


def test_a_view_is_no_sole_owner_since_its_base_has_the_memory():
    assert not is_sole_owner(torch.ones(3, 4).unsqueeze(0))


def test_nobody_is_a_sole_owner_where_torch_does_not_tell(monkeypatch):
    monkeypatch.setattr(memory, "_uses_of", None)
    assert not is_sole_owner(torch.ones(3))
