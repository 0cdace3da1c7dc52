"""Structures are remembered; graphs that differ in anything that counts are told apart."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.exact_gram import recipe as planning
from mtl_methods.exact_gram.choice import choose
from mtl_methods.exact_gram.layout import lay_out
from mtl_methods.exact_gram.listing import list_graph

TASKS = 3


class Changing(nn.Module):
    """A trunk and heads whose graph depends on the step."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.BatchNorm1d(16)
        self.heads = nn.ModuleList(nn.Linear(16, 2) for _ in range(TASKS))

    def losses(self, step: int) -> dict[str, torch.Tensor]:
        rows = (4, 7)[step % 2]
        features = torch.randn(rows, 16, generator=torch.Generator().manual_seed(step))
        self.norm.train(step % 3 != 0)
        for layer in self.layers[: 2 + step % 2]:
            features = torch.tanh(layer(features))
        features = self.norm(features)
        if step % 5 == 4:
            features = features + self.layers[0](features)
        tasks = range(TASKS - (step % 4 == 3))
        return {f"t{k}": self.heads[k](features).square().mean() * (k + 1.0) for k in tasks}

    def shared(self) -> list[nn.Parameter]:
        return [*self.layers.parameters(), *self.norm.parameters()]


@pytest.mark.parametrize("name", ["fairgrad", "pcgrad"])
def test_graphs_that_change_from_step_to_step(name):
    """The exact path agrees with the plain one in each of many structures, in turns."""
    torch.manual_seed(0)
    model = Changing()
    methods = [make_method(name, gram_path=path) for path in ("exact", "plain")]
    for method in methods:
        method.setup([f"t{k}" for k in range(TASKS)])
        method.seed(0)
    for step in range(24):
        found = []
        for method in methods:
            model.zero_grad(set_to_none=True)
            method.backward(model.losses(step), model.shared())
            gradients = [p.grad for p in model.parameters()]
            found.append((method.last_step.gram, method.weights, gradients))
        (gram, weights, exact), (expected_gram, expected_weights, expected) = found
        assert gram == pytest.approx(expected_gram, rel=1e-4, abs=1e-9)
        torch.testing.assert_close(weights, expected_weights, rtol=1e-3, atol=1e-5)
        for one, other in zip(exact, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_what_looks_alike_is_analysed_once(monkeypatch):
    lay_out.cache_clear()
    chosen = []
    monkeypatch.setattr(planning, "choose", lambda *a, **k: chosen.append(0) or choose(*a, **k))
    torch.manual_seed(0)
    model = Changing()
    method = make_method("fairgrad", gram_path="exact")
    for step in (0, 12):  # other numbers in the same graph
        method.backward(model.losses(step), model.shared())
        assert (lay_out.cache_info().misses, len(chosen)) == (1, 1)
    method.backward(model.losses(1), model.shared())
    assert (lay_out.cache_info().misses, len(chosen)) == (2, 2)


def test_a_larger_batch_in_the_same_graph_is_another_choice(monkeypatch):
    """Rows against widths decide; the structure does not know them."""
    torch.manual_seed(0)
    trunk, heads = nn.Linear(32, 32), [nn.Linear(32, 1) for _ in range(TASKS)]
    method = make_method("fairgrad", gram_path="auto")
    paths = []
    for rows in (2, 128, 2):
        features = trunk(torch.randn(rows, 32))
        losses = {f"t{k}": head(features).square().mean() for k, head in enumerate(heads)}
        method._plain_for = 0  # a verdict of "plain" stands for a while
        method.backward(losses, trunk.parameters())
        paths.append(method.gram_plan.path)
    assert paths == ["exact", "plain", "exact"]


def test_a_copy_of_a_method_knows_nothing_of_the_model():
    torch.manual_seed(0)
    model = Changing()
    method = make_method("fairgrad", gram_path="exact")
    method.backward(model.losses(0), model.shared())
    other = pickle.loads(pickle.dumps(method))
    assert method._recipes._known
    assert not other._recipes._known
    other.backward(model.losses(0), model.shared())
    torch.testing.assert_close(other.weights, method.weights)


def test_a_structure_holds_numbers_and_names_only():
    model = Changing()
    nodes, structure = list_graph(tuple(model.losses(0).values()), model.shared(), None, ())
    assert len(nodes) == len(list(structure.by_position()))
    kinds = set(map(type, structure.nodes))
    assert kinds == {int, str}
    again, same = list_graph(tuple(model.losses(0).values()), model.shared(), None, ())
    assert same == structure
    assert hash(same) == hash(structure)
    assert again[0] is not nodes[0]


def test_what_counts_as_a_head_is_part_of_the_structure():
    model = Changing()
    losses = tuple(model.losses(0).values())
    _, every = list_graph(losses, model.shared(), None, ())
    _, some = list_graph(losses, model.shared(), list(model.heads[0].parameters()), ())
    _, fewer = list_graph(losses, model.shared()[1:], None, ())
    assert len({every, some, fewer}) == 3
