"""Edge-conditioned convolution on complete graphs, re-associated so that it stays small.

With edge features e_ij, node features x_j (C numbers) and an edge network
h_ij = relu(W1 e_ij + b1) (K numbers), Theta_ij = W2 h_ij + b2 (a C x D matrix), the layer is

    y_i = R x_i + b + sum_j x_j Theta_ij        (or the mean over the neighbours j)

Written out, sum_j x_j Theta_ij = sum_{k,c} (sum_j h_ijk x_jc) W2[k,c,:] + (sum_j x_j) b2: first one
small matrix product per graph (K x C numbers per node), then one product with W2. The C x D matrix
of every edge is never made, which is exact and, on complete graphs, several times faster and
smaller. What depends on edges alone is computed once for all uses of a layer in a forward pass.

Source: Gilmer et al., "Neural Message Passing for Quantum Chemistry", section 5.1 (the layer).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainables.optional import optional_import

__all__ = ["DenseNNConv", "EdgeCode", "StockNNConv"]

Aggregation = Literal["mean", "add"]


@dataclass(frozen=True)
class EdgeCode:
    """What :class:`DenseNNConv` needs to know of the edges of a batch.

    Attributes:
        hidden: h_ij with the weight of j's message to i, shape (B, N * K, N): row i * K + k.
        weights: That weight, shape (B, N, N); 0 where j is no neighbour of i.
    """

    hidden: Tensor
    weights: Tensor


class DenseNNConv(nn.Module):
    """The layer of the module's docstring, for batches of graphs padded to one size.

    Parameters lie and start as in torch_geometric's ``NNConv`` with the edge network
    ``Linear, ReLU, Linear``.

    Args:
        in_channels: C.
        out_channels: D.
        edge_channels: Size of the edge features.
        hidden: K.
        aggregation: ``"mean"`` or ``"add"`` over the neighbours; a node without any gets 0.

    Shapes: nodes (B, N, C), edges (B, N, N, E) with the edge from j to i at [i, j], neighbours
    (B, N, N) bool or float, 1 where j is a neighbour of i; the result is (B, N, D). What lies at
    places that are no neighbours is ignored as long as it is finite.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        edge_channels: int,
        *,
        hidden: int = 128,
        aggregation: Aggregation = "mean",
    ) -> None:
        super().__init__()
        if aggregation not in ("mean", "add"):
            raise ValueError(f"aggregation = {aggregation!r} is not valid; it must be mean or add")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.aggregation = aggregation
        self.edge_hidden = nn.Linear(edge_channels, hidden)
        self.edge_matrix = nn.Linear(hidden, in_channels * out_channels)
        self.root = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        bound = 1 / math.sqrt(in_channels)
        nn.init.uniform_(self.root.weight, -bound, bound)

    def forward(self, nodes: Tensor, edges: Tensor, neighbours: Tensor) -> Tensor:
        """Maps node features; see the shapes above."""
        return self.propagate(nodes, self.encode(edges, neighbours))

    def encode(self, edges: Tensor, neighbours: Tensor) -> EdgeCode:
        """What depends on edges alone; see the shapes above."""
        weights = neighbours.to(edges.dtype)
        if self.aggregation == "mean":
            weights = weights / weights.sum(dim=2, keepdim=True).clamp_min(1.0)
        hidden = torch.relu(self.edge_hidden(edges)) * weights[..., None]
        return EdgeCode(hidden.transpose(2, 3).flatten(1, 2), weights)

    def propagate(self, nodes: Tensor, code: EdgeCode) -> Tensor:
        """Maps node features (B, N, C) to (B, N, D) along encoded edges."""
        batch, size = nodes.shape[:2]
        products = (code.hidden @ nodes).view(batch * size, -1)
        matrix = self.edge_matrix.weight.view(self.in_channels, self.out_channels, -1)
        messages = products @ matrix.permute(2, 0, 1).reshape(-1, self.out_channels)
        constant = self.edge_matrix.bias.view(self.in_channels, self.out_channels)
        messages = messages.view(batch, size, -1) + (code.weights @ nodes) @ constant
        result: Tensor = self.root(nodes) + messages + self.bias
        return result


class StockNNConv(nn.Module):
    """The same layer by torch_geometric's ``NNConv``, with the interface of :class:`DenseNNConv`.

    It starts from the same parameters as :class:`DenseNNConv` does with the same generator.

    Args:
        in_channels: C.
        out_channels: D.
        edge_channels: Size of the edge features.
        hidden: K.
        aggregation: ``"mean"`` or ``"add"``.

    Raises:
        MissingExtraError: If torch_geometric is not installed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        edge_channels: int,
        *,
        hidden: int = 128,
        aggregation: Aggregation = "mean",
    ) -> None:
        super().__init__()
        geometric = optional_import(
            "torch_geometric.nn", extra="qm9", purpose="the stock layer of the problem qm9"
        )
        dense = DenseNNConv(
            in_channels, out_channels, edge_channels, hidden=hidden, aggregation=aggregation
        )
        start = {
            "nn.0.weight": dense.edge_hidden.weight,
            "nn.0.bias": dense.edge_hidden.bias,
            "nn.2.weight": dense.edge_matrix.weight,
            "nn.2.bias": dense.edge_matrix.bias,
            "lin.weight": dense.root.weight,
            "bias": dense.bias,
        }
        start = {name: value.detach().clone() for name, value in start.items()}
        network = nn.Sequential(dense.edge_hidden, nn.ReLU(), dense.edge_matrix)
        with torch.random.fork_rng(devices=[]):  # NNConv draws parameters, which are replaced
            self.conv: Any = geometric.NNConv(in_channels, out_channels, network, aggr=aggregation)
        self.conv.load_state_dict(start)

    def forward(self, nodes: Tensor, edges: Tensor, neighbours: Tensor) -> Tensor:
        """Maps node features; shapes as in :class:`DenseNNConv`."""
        return self.propagate(nodes, self.encode(edges, neighbours))

    def encode(self, edges: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
        """The edges as a list: sources and targets (2, M) as positions in B * N, features."""
        size = neighbours.shape[1]
        graph, target, source = neighbours.nonzero(as_tuple=True)
        offset = graph * size
        return torch.stack([offset + source, offset + target]), edges[graph, target, source]

    def propagate(self, nodes: Tensor, code: tuple[Tensor, Tensor]) -> Tensor:
        """Maps node features (B, N, C) to (B, N, D) along encoded edges."""
        result: Tensor = self.conv(nodes.flatten(0, 1), *code)
        return result.view(*nodes.shape[:2], -1)
