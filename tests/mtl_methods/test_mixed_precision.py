"""The recipe of mixed precision in the docstring of ``Method.backward``, with torch's scaler."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mtl_methods import Method, Need, make_method

TASKS = ("near", "far")
INPUTS = torch.tensor([[1.0, 0.5, -0.5], [0.25, -1.0, 0.75]])
SCALE = 2.0**16


class Training:
    """A small model under SGD; the same start for every method."""

    def __init__(self, name):
        torch.manual_seed(0)
        self.trunk = nn.Linear(3, 2)
        self.heads = nn.ModuleDict({task: nn.Linear(2, 1) for task in TASKS})
        self.method = make_method(name)
        self.method.setup(TASKS)
        everything = [self.trunk, self.heads]
        model = [p for module in everything for p in module.parameters()]
        self.parameters = [*model, *self.method.parameters()]
        self.optimizer = torch.optim.SGD(self.parameters, lr=0.1)

    def losses(self, size=1.0):
        features = self.trunk(INPUTS)
        return {
            task: (1.0 + k) * (head(features) - 2.0).square().mean() * size
            for k, (task, head) in enumerate(self.heads.items())
        }

    def plain_step(self):
        self.method.backward(self.losses(), self.trunk.parameters())
        self.optimizer.step()
        self.finish()

    def scaled_step(self, scaler, size=1.0):
        scale = scaler.scale(torch.ones(())).item()
        self.method.backward(self.losses(size), self.trunk.parameters(), grad_scale=scale)
        scaler.step(self.optimizer)
        scaler.update()
        self.finish(size)

    def finish(self, size=1.0):
        if Need.LOSSES_AFTER_STEP in self.method.needs:
            with torch.no_grad():
                self.method.after_step(self.losses(size))
        self.optimizer.zero_grad()

    def values(self):
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters])


@pytest.mark.parametrize("name", ["ls", "uw", "cagrad", "graddrop", "log+uw+fairgrad", "famo"])
def test_a_scaled_step_is_the_plain_one(name):
    plain, scaled = Training(name), Training(name)
    start = plain.values()
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)  # never used before
    for _ in range(2):
        plain.plain_step()
        scaled.scaled_step(scaler)
    assert torch.allclose(plain.values(), scaled.values(), rtol=1e-4)
    assert not torch.allclose(plain.values(), start, rtol=1e-2)
    assert scaler.get_scale() == SCALE


@pytest.mark.parametrize("name", ["ls", "uw", "cagrad", "graddrop", "uw+cagrad"])
def test_the_scaler_skips_a_step_that_overflows(name):
    training = Training(name)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    training.scaled_step(scaler)
    before = training.values()
    training.scaled_step(scaler, size=1e36)  # within the range of float32, but not times the scale
    assert torch.equal(training.values(), before)
    assert scaler.get_scale() == SCALE / 2
    training.scaled_step(scaler)
    assert not torch.equal(training.values(), before)


def test_the_docstring_and_the_page_state_this_recipe():
    recipe = "scaler.scale(torch.ones((), device=device)).item()"
    page = Path(__file__).parents[2] / "docs" / "library.md"
    for text in (Method.backward.__doc__, page.read_text(encoding="utf-8")):
        assert recipe in " ".join(text.split())


def test_asking_a_new_scaler_for_its_scale_does_not_prepare_it():
    training = Training("ls")
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    scale = scaler.get_scale()
    training.method.backward(training.losses(), training.trunk.parameters(), grad_scale=scale)
    with pytest.raises(AssertionError, match="_scale is None"):  # torch's, and why the recipe is so
        scaler.step(training.optimizer)
