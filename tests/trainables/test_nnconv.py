from __future__ import annotations

import sys

import pytest
import torch

from trainables.architectures.nnconv import DenseNNConv, StockNNConv
from trainables.errors import MissingExtraError

B, N, C, D, E, K = 3, 5, 4, 6, 2, 7


@pytest.fixture
def graphs():
    generator = torch.Generator().manual_seed(0)
    nodes = torch.randn(B, N, C, dtype=torch.float64, generator=generator)
    edges = torch.randn(B, N, N, E, dtype=torch.float64, generator=generator)
    sizes = torch.tensor([5, 3, 1])
    present = torch.arange(N)[None] < sizes[:, None]
    neighbours = present[:, :, None] & present[:, None, :] & ~torch.eye(N, dtype=torch.bool)
    return nodes, edges, neighbours


def layer(kind=DenseNNConv, **options):
    torch.manual_seed(1)
    made = kind(C, D, E, hidden=K, **options).double()
    bias = made.bias if kind is DenseNNConv else made.conv.bias
    torch.nn.init.normal_(bias)
    return made


def plain(made, nodes, edges, neighbours):
    """The definition, one edge after the other."""
    rows = []
    for b in range(B):
        for i in range(N):
            messages = []
            for j in range(N):
                if neighbours[b, i, j]:
                    hidden = torch.relu(made.edge_hidden(edges[b, i, j]))
                    messages.append(nodes[b, j] @ made.edge_matrix(hidden).view(C, D))
            total = torch.stack(messages).sum(0) if messages else torch.zeros(D).double()
            if made.aggregation == "mean" and messages:
                total = total / len(messages)
            rows.append(made.root.weight @ nodes[b, i] + total + made.bias)
    return torch.stack(rows).view(B, N, D)


@pytest.mark.parametrize("aggregation", ["mean", "add"])
def test_values_and_gradients_are_those_of_the_definition(graphs, aggregation):
    nodes, edges, neighbours = graphs
    made = layer(aggregation=aggregation)
    leaves = [nodes.requires_grad_(), edges.requires_grad_(), *made.parameters()]
    results, gradients = [], []
    for function in (made, lambda *inputs: plain(made, *inputs)):
        result = function(nodes, edges, neighbours)
        results.append(result)
        gradients.append(torch.autograd.grad(result.square().sum(), leaves))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_what_is_no_neighbour_does_not_matter(graphs):
    nodes, edges, neighbours = graphs
    made = layer()
    other = torch.where(neighbours[..., None], edges, 100.0)
    torch.testing.assert_close(made(nodes, edges, neighbours), made(nodes, other, neighbours))


def test_single_precision_agrees_to_a_hundred_thousandth(graphs):
    nodes, edges, neighbours = graphs
    made = layer()
    exact = made(nodes, edges, neighbours)
    single = made.float()(nodes.float(), edges.float(), neighbours)
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("aggregation", ["mean", "add"])
def test_the_same_as_torch_geometric_from_the_same_seed(graphs, aggregation):
    pytest.importorskip("torch_geometric", reason="torch_geometric (extra [qm9]) is not installed")
    nodes, edges, neighbours = graphs
    results, gradients = [], []
    for kind in (DenseNNConv, StockNNConv):
        made = layer(kind, aggregation=aggregation)
        leaf = nodes.clone().requires_grad_()
        results.append(made(leaf, edges, neighbours))
        results[-1].square().sum().backward()
        given = {tuple(p.shape): p.grad for p in made.parameters()}
        gradients.append({"nodes": leaf.grad, **given})
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)
    assert gradients[0].keys() == gradients[1].keys()
    for name, found in gradients[0].items():
        torch.testing.assert_close(found, gradients[1][name], rtol=1e-10, atol=1e-10)


def test_the_stock_layer_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(MissingExtraError) as caught:
        layer(StockNNConv)
    assert str(caught.value) == (
        "the stock layer of the problem qm9 needs the package torch_geometric, which is not "
        'installed; `python -m pip install -c constraints.txt -e ".[qm9]"` installs it'
    )


def test_unknown_aggregation():
    with pytest.raises(ValueError, match="aggregation = 'max' is not valid"):
        layer(aggregation="max")
