"""The network on padded batches: each molecule is computed as if it were alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.architectures.mpnn import MPNN, Set2Set

NODES, EDGES, WIDTH = 5, 3, 8


@pytest.fixture
def graphs():
    """70 graphs of 1 to 9 nodes: more than are computed together, in no order."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 10, (70,), generator=generator)
    present = torch.arange(9) < sizes[:, None]
    both = present[:, :, None] & present[:, None, :]
    nodes = torch.randn(70, 9, NODES, generator=generator, dtype=torch.float64)
    edges = torch.randn(70, 9, 9, EDGES, generator=generator, dtype=torch.float64)
    return nodes * present[..., None], edges * both[..., None], present


def network(**options):
    torch.manual_seed(1)
    return MPNN(NODES, EDGES, width=WIDTH, edge_hidden=6, **options).double()


def test_a_batch_gives_what_each_graph_gives_alone(graphs):
    nodes, edges, present = graphs
    model = network()
    together = model(nodes, edges, present)
    for item in range(len(nodes)):
        size = int(present[item].sum())
        alone = model(
            nodes[item : item + 1, :size],
            edges[item : item + 1, :size, :size],
            present[item : item + 1, :size],
        )
        torch.testing.assert_close(together[item : item + 1], alone, rtol=1e-12, atol=1e-12)


def test_gradients_of_a_batch_are_the_sum_of_those_alone(graphs):
    nodes, edges, present = (values[:6] for values in graphs)
    model = network()
    model(nodes, edges, present).square().sum().backward()
    together = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for item in range(6):
        size = int(present[item].sum())
        chosen = slice(item, item + 1)
        alone = model(nodes[chosen, :size], edges[chosen, :size, :size], present[chosen, :size])
        alone.square().sum().backward()
    for parameter, expected in zip(model.parameters(), together, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-10, atol=1e-12)


def test_what_fills_the_padding_does_not_matter(graphs):
    nodes, edges, present = graphs
    both = present[:, :, None] & present[:, None, :]
    model = network()
    torch.testing.assert_close(
        model(nodes, edges, present),
        model(
            torch.where(present[..., None], nodes, 7.0),
            torch.where(both[..., None], edges, -7.0),
            present,
        ),
    )


def test_the_order_of_atoms_does_not_matter(graphs):
    nodes, edges, present = graphs
    item = int(present.sum(dim=1).argmax())
    assert present[item].all()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    model = network()
    one = model(nodes[item][None], edges[item][None], present[item][None])
    other = model(nodes[item][order][None], edges[item][order][:, order][None], present[item][None])
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    moved = model(nodes[item][order][None], edges[item][None], present[item][None])
    assert not torch.allclose(one, moved)


def test_the_stock_layer_gives_the_same_from_the_same_seed(graphs):
    pytest.importorskip("torch_geometric", reason="torch_geometric (extra [qm9]) is not installed")
    single = [values.float() if values.is_floating_point() else values for values in graphs]
    ours, stock = network().float(), network(stock=True).float()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in stock.parameters())
    torch.testing.assert_close(ours(*single), stock(*single), rtol=1e-5, atol=1e-5)


def test_the_same_as_the_parts_of_torch_geometric(graphs):
    geometric = pytest.importorskip(
        "torch_geometric.nn", reason="torch_geometric (extra [qm9]) is not installed"
    )
    nodes, edges, present = graphs
    model = network(stock=True)
    recurrent = nn.GRU(WIDTH, WIDTH).double()
    recurrent.load_state_dict({f"{k}_l0": v for k, v in model.gru.state_dict().items()})
    reader = geometric.Set2Set(WIDTH, processing_steps=3).double()
    reader.lstm.load_state_dict({f"{k}_l0": v for k, v in model.set2set.lstm.state_dict().items()})
    graph, place = present.nonzero(as_tuple=True)
    number = torch.full(present.shape, -1)
    number[graph, place] = torch.arange(len(graph))
    both = present[:, :, None] & present[:, None, :] & ~torch.eye(9, dtype=torch.bool)
    g, target, source = both.nonzero(as_tuple=True)
    links = torch.stack([number[g, source], number[g, target]])
    hidden = torch.relu(model.embed(nodes[graph, place]))
    state = hidden[None]
    for _ in range(3):
        message = torch.relu(model.conv.conv(hidden, links, edges[g, target, source]))
        hidden, state = recurrent(message[None], state)
        hidden = hidden[0]
    expected = torch.relu(model.linear(reader(hidden, graph)))
    torch.testing.assert_close(model(*graphs), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(network()(*graphs), expected, rtol=1e-10, atol=1e-10)


def test_attention_ignores_absent_nodes():
    torch.manual_seed(0)
    reader = Set2Set(4, steps=2)
    nodes = torch.randn(1, 3, 4)
    two = torch.tensor([[True, True, False]])
    torch.testing.assert_close(reader(nodes, two), reader(nodes[:, :2], two[:, :2]))
