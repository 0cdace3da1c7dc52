"""Steps whose graphs have one structure but differ in what rules read are told apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mtl_methods import make_method

TASKS = 3


class Pair:
    """Two ways to the same structure of graph, on the same parameters unless it says otherwise."""

    def __init__(self, shared, one, other):
        self.shared, self.ways = list(shared), (one, other)


def _convolutions(**changed):
    weight = nn.Parameter(torch.randn(4, 2, 3, 3) / 4)
    inputs = torch.randn(2, 2, 9, 9)

    def way(**settings):
        return lambda: functional.conv2d(inputs, weight, **settings)

    return Pair([weight], way(), way(**changed))


def _grouped():
    weight = nn.Parameter(torch.randn(4, 2, 3, 3) / 4)
    wide, narrow = torch.randn(2, 4, 6, 6), torch.randn(2, 2, 6, 6)
    return Pair(
        [weight],
        lambda: functional.conv2d(wide, weight, groups=2),
        lambda: functional.conv2d(narrow, weight),
    )


def _addmm():
    bias, weight = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6, 8) / 3)
    inputs = torch.randn(3, 8)
    return Pair(
        [bias, weight],
        lambda: torch.addmm(bias, inputs, weight.t()),
        lambda: torch.addmm(bias, inputs, weight.t(), beta=0.5, alpha=2.0),
    )


def _transposed():
    weight = nn.Parameter(torch.randn(8, 8) / 3)
    inputs = torch.randn(3, 8)
    return Pair([weight], lambda: inputs @ weight, lambda: inputs @ weight.t())


def _batch_norm():
    norm = nn.BatchNorm1d(8)
    norm.running_mean += torch.randn(8)
    inputs = torch.randn(5, 8)
    return Pair(
        norm.parameters(), lambda: norm.train()(inputs).tanh(), lambda: norm.eval()(inputs).tanh()
    )


def _group_norm():
    scale, shift = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
    inputs = torch.randn(3, 8, 4)
    return Pair(
        [scale, shift],
        lambda: functional.group_norm(inputs, 2, scale, shift).tanh(),
        lambda: functional.group_norm(inputs, 4, scale, shift).tanh(),
    )


def _layer_norm():
    scale, shift = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
    few, many = torch.randn(3, 8), torch.randn(3, 5, 8)
    return Pair(
        [scale, shift],
        lambda: functional.layer_norm(few, (8,), scale, shift).tanh(),
        lambda: functional.layer_norm(many, (8,), scale, shift).tanh(),
    )


def _embedding():
    table = nn.Parameter(torch.randn(6, 5))
    words = torch.tensor([[0, 2, 2], [1, 5, 0]])
    return Pair(
        [table],
        lambda: functional.embedding(words, table),
        lambda: functional.embedding(words, table, padding_idx=2),
    )


def _broadcast():
    scale = nn.Parameter(torch.randn(8))
    low, high = torch.randn(3, 8), torch.randn(3, 4, 8)
    return Pair([scale], lambda: (low * scale).tanh(), lambda: (high * scale).tanh())


def _other_model():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    inputs = torch.randn(3, 8)
    shared = [*first.parameters(), *second.parameters()]
    return Pair(shared, lambda: first(inputs), lambda: second(inputs))


def _rows():
    layer = nn.Linear(16, 16)
    few, many = torch.randn(2, 16), torch.randn(40, 16)
    return Pair(layer.parameters(), lambda: layer(few), lambda: layer(many))


PAIRS = {
    "stride": lambda: _convolutions(stride=2),
    "padding": lambda: _convolutions(padding=1),
    "dilation": lambda: _convolutions(dilation=2),
    "groups": _grouped,
    "alpha and beta": _addmm,
    "transposed": _transposed,
    "batch norm, training and evaluation": _batch_norm,
    "group norm": _group_norm,
    "layer norm": _layer_norm,
    "padding index": _embedding,
    "broadcast": _broadcast,
    "other parameters": _other_model,
    "rows": _rows,
}


def losses_of(features):
    flat = features.flatten(1)
    generator = torch.Generator().manual_seed(flat.shape[1])
    heads = torch.randn(TASKS, flat.shape[1], generator=generator)
    return {
        f"t{k}": ((flat @ head) * (k + 1.0) - k).square().mean() for k, head in enumerate(heads)
    }


def assert_alike(methods, shared, way, path="exact"):
    """The exact path agrees with the plain one in this step."""
    found = []
    for method in methods:
        for parameter in shared:
            parameter.grad = None
        method.backward(losses_of(way()), shared)
        found.append((method.last_step.gram, [p.grad for p in shared]))
    assert methods[0].gram_plan.path == path
    (gram, exact), (expected_gram, expected) = found
    assert gram == pytest.approx(expected_gram, rel=1e-4, abs=1e-6)
    for one, other in zip(exact, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def two_methods():
    return [make_method("fairgrad", gram_path=path) for path in ("exact", "plain")]


@pytest.mark.parametrize("what", PAIRS)
def test_what_rules_read_is_part_of_a_recipe(what):
    torch.manual_seed(0)
    pair = PAIRS[what]()
    methods = two_methods()
    for step in (0, 1, 0, 1):
        path = "plain" if what == "alpha and beta" and step else "exact"
        assert_alike(methods, pair.shared, pair.ways[step], path)


def test_parameters_in_another_order():
    torch.manual_seed(0)
    layer, inputs = nn.Linear(8, 8), torch.randn(3, 8)
    methods = two_methods()
    shared = list(layer.parameters())
    for order in (shared, shared[::-1], shared):
        assert_alike(methods, order, lambda: layer(inputs))


def test_parameters_that_change_shape_or_type_in_place():
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    methods = two_methods()
    shared = list(layer.parameters())
    assert_alike(methods, shared, lambda: layer(torch.ones(3, 8)))
    layer.weight.data = torch.randn(8, 5)
    assert_alike(methods, shared, lambda: layer(torch.ones(3, 5)))
    layer.double()
    assert_alike(methods, shared, lambda: layer(torch.ones(3, 5).double()).float())


def test_a_parameter_that_is_broadcast_otherwise():
    """Its shape alone says how its gradient is summed."""
    torch.manual_seed(0)
    scale, inputs = nn.Parameter(torch.randn(8)), torch.randn(3, 8)
    methods = two_methods()
    for shape in ((8,), (1, 8), (8,)):
        scale.data = scale.data.view(shape)
        assert_alike(methods, [scale], lambda: (inputs * scale).tanh())


def test_another_model_of_the_same_kind():
    torch.manual_seed(0)
    inputs = torch.randn(3, 8)
    methods = two_methods()
    for _ in range(3):
        layer = nn.Linear(8, 8)
        assert_alike(methods, list(layer.parameters()), lambda: layer(inputs))  # noqa: B023


def test_recipes_are_few():
    """As many as are remembered, whatever changes from step to step."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    method = make_method("fairgrad", gram_path="exact")
    for rows in range(1, 80):
        method.backward(losses_of(layer(torch.ones(rows, 8))), layer.parameters())
        assert len(method._recipes._known) <= 32
