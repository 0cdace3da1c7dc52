"""Steps whose graphs have one structure but differ in what rules read are told apart."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

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


def _addmm(**factors):
    bias, weight = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6, 8) / 3)
    inputs = torch.randn(3, 8)
    return Pair(
        [bias, weight],
        lambda: torch.addmm(bias, inputs, weight.t()),
        lambda: torch.addmm(bias, inputs, weight.t(), **factors),
    )


def _sum():
    bias, inputs = nn.Parameter(torch.randn(8)), torch.randn(3, 8)
    return Pair(
        [bias],
        lambda: torch.add(inputs, bias).tanh(),
        lambda: torch.add(inputs, bias, alpha=3.0).tanh(),
    )


def _sparse():
    bias, weight = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(8, 6) / 3)
    inputs = torch.randn(3, 8)
    return Pair(
        [bias, weight],
        lambda: torch.addmm(bias, inputs, weight),
        lambda: torch.addmm(bias, inputs.to_sparse(), weight),
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


def _epsilon():
    norm, inputs = nn.BatchNorm1d(8).eval(), torch.randn(5, 8)

    def way(epsilon):
        norm.eps = epsilon
        return norm(inputs).tanh()

    return Pair(norm.parameters(), lambda: way(1e-5), lambda: way(0.5))


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


def _frequencies():
    table, words = nn.Parameter(torch.randn(6, 5)), torch.tensor([[0, 2, 2], [1, 5, 0]])
    return Pair(
        [table],
        lambda: functional.embedding(words, table),
        lambda: functional.embedding(words, table, scale_grad_by_freq=True),
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
    "one stride for both axes": lambda: _convolutions(stride=(2,)),
    "one padding for both axes": lambda: _convolutions(padding=(1,)),
    "no padding, in a word": lambda: _convolutions(padding="valid"),
    "groups": _grouped,
    "alpha": lambda: _addmm(alpha=2.0),
    "beta": lambda: _addmm(beta=0.5),
    "alpha of a sum": _sum,
    "sparse inputs": _sparse,
    "transposed": _transposed,
    "batch norm, training and evaluation": _batch_norm,
    "epsilon": _epsilon,
    "group norm": _group_norm,
    "layer norm": _layer_norm,
    "padding index": _embedding,
    "frequencies": _frequencies,
    "broadcast": _broadcast,
    "other parameters": _other_model,
    "rows": _rows,
}

WITHOUT_A_RULE = ("alpha", "beta", "alpha of a sum", "frequencies")  # the second way


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
        path = "plain" if step and what in WITHOUT_A_RULE else "exact"
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
    for rows in range(1, 200):
        method.backward(losses_of(layer(torch.ones(rows, 8))), layer.parameters())
        assert len(method._recipes._known) == min(rows, 128)


def test_models_that_are_no_more_are_let_go_of():
    torch.manual_seed(0)
    method = make_method("fairgrad", gram_path="exact")
    weights = []
    for _ in range(6):
        layer = nn.Linear(8, 8)
        method.backward(losses_of(layer(torch.randn(3, 8))), layer.parameters())
        weights.append(weakref.ref(layer.weight))
    del layer
    gc.collect()
    assert [weight() is not None for weight in weights] == [False] * 5 + [True]


def test_the_way_can_be_forced_later():
    torch.manual_seed(0)
    layer, inputs = nn.Linear(8, 8), torch.randn(64, 8)
    method = make_method("fairgrad")
    paths = []
    for path in ("auto", "exact"):
        method.gram_path, method._plain_for = path, 0
        method.backward(losses_of(layer(inputs)), layer.parameters())
        paths.append(method.gram_plan.path)
    assert paths == ["plain", "exact"]


def test_only_what_is_needed_is_held_while_tasks_go_down():
    """Saving hooks may make copies: those of layers that go the plain way are let go of before."""
    torch.manual_seed(0)
    alive: set[int] = set()
    seen = []

    def unpack(packed):
        copy = packed.numpy().copy()
        alive.add(id(copy))
        weakref.finalize(copy, alive.discard, id(copy))
        return torch.from_numpy(copy)

    first = nn.Conv2d(2, 4, 3, padding=1)
    rest = nn.Sequential(
        *[layer for _ in range(5) for layer in (nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1))],
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64, 2048),
    )
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach(), unpack):
        middle = first(torch.randn(4, 2, 16, 16))
        middle.register_hook(lambda _: seen.append(len(alive)))
        losses = losses_of(rest(middle))
    method = make_method("fairgrad")
    method.backward(losses, [*first.parameters(), *rest.parameters()])
    ways = [plan.way for plan in method.gram_plan.parameters]
    assert ways == ["plain"] * 12 + ["exact"] * 2
    assert max(seen) <= 3


def test_what_all_tasks_need_is_made_once():
    """The inputs of a layer with more rows than columns, in another type than its gradients."""
    torch.manual_seed(0)
    layer, inputs = nn.Linear(16, 4), torch.randn(64, 16)
    with torch.autocast("cpu", torch.bfloat16):
        losses = {key: loss.float() for key, loss in losses_of(layer(inputs)).items()}
    method = make_method("fairgrad", gram_path="exact")
    with _Conversions(inputs.shape) as conversions:
        method.backward(losses, layer.parameters())
    assert method.gram_plan.path == "exact"
    assert conversions.count == 1


class _Conversions(TorchDispatchMode):
    """Counts conversions of tensors of a shape."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and args[0].shape == self.shape:
            self.count += 1
        return func(*args, **(kwargs or {}))
