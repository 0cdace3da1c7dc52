"""The message passing network of the QM9 protocol, for batches of padded molecules.

With node features v_i and edge features e_ij, h_i = relu(A v_i) and T times

    m_i = relu(NNConv(h, e)_i),    h_i <- GRU(m_i, h_i),

then Set2Set over the nodes of each graph and a linear layer with ReLU. Every graph is computed on
its own: what a batch is padded with, and which other graphs are in it, changes nothing.

Source: Gilmer et al., "Neural Message Passing for Quantum Chemistry"; Vinyals et al., "Order
Matters: Sequence to sequence for sets" (Set2Set).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainables.architectures.nnconv import DenseNNConv, StockNNConv

__all__ = ["MPNN", "Set2Set"]

_TOGETHER = 32  # graphs of similar size that are computed together


class Set2Set(nn.Module):
    """Reads a set of nodes by attention, S times: from (B, N, C) to (B, 2 C).

    ``q_t = LSTM(q*_{t-1}), a_i = softmax_i(x_i . q_t), r_t = sum_i a_i x_i, q*_t = [q_t, r_t]``.

    Args:
        channels: C.
        steps: S.
    """

    def __init__(self, channels: int, steps: int = 3) -> None:
        super().__init__()
        self.steps = steps
        self.lstm = nn.LSTMCell(2 * channels, channels)

    def forward(self, nodes: Tensor, present: Tensor) -> Tensor:
        """Reads each graph.

        Args:
            nodes: Shape (B, N, C).
            present: Which nodes there are, (B, N) bool, at least one in each graph.
        """
        batch, _, channels = nodes.shape
        query = nodes.new_zeros(batch, channels)
        state = query
        read = nodes.new_zeros(batch, 2 * channels)
        for _ in range(self.steps):
            query, state = self.lstm(read, (query, state))
            scores = (nodes @ query[:, :, None]).squeeze(2).masked_fill(~present, -torch.inf)
            attention = torch.softmax(scores, dim=1)
            read = torch.cat([query, (attention[:, None] @ nodes).squeeze(1)], dim=1)
        return read


class MPNN(nn.Module):
    """The network of the module's docstring.

    Args:
        node_channels: Size of the node features.
        edge_channels: Size of the edge features.
        width: Size of h and of the result.
        steps: T.
        edge_hidden: Hidden units of the edge network.
        dropout: Probability of dropping a number of the result.
        stock: Whether the convolution is torch_geometric's.

    Raises:
        MissingExtraError: If the stock layer is asked for and torch_geometric is not installed.
    """

    def __init__(
        self,
        node_channels: int,
        edge_channels: int,
        *,
        width: int = 64,
        steps: int = 3,
        edge_hidden: int = 128,
        dropout: float = 0.0,
        stock: bool = False,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.embed = nn.Linear(node_channels, width)
        layer = StockNNConv if stock else DenseNNConv
        self.conv = layer(width, width, edge_channels, hidden=edge_hidden)
        self.gru = nn.GRUCell(width, width)
        self.set2set = Set2Set(width)
        self.linear = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes: Tensor, edges: Tensor, present: Tensor) -> Tensor:
        """Maps B graphs, each the complete graph of its nodes, to (B, width).

        Args:
            nodes: Node features, (B, N, node_channels).
            edges: Edge features, (B, N, N, edge_channels).
            present: Which nodes there are, (B, N) bool; in each graph the first so many, at least
                one.
        """
        order = present.sum(dim=1).argsort(stable=True)
        read = []
        for chosen in torch.split(order, _TOGETHER):
            most = int(present[chosen[-1]].sum())
            read.append(
                self._read(
                    nodes[chosen, :most], edges[chosen, :most, :most], present[chosen, :most]
                )
            )
        features = torch.relu(self.linear(torch.cat(read)[order.argsort()]))
        result: Tensor = self.dropout(features)
        return result

    def _read(self, nodes: Tensor, edges: Tensor, present: Tensor) -> Tensor:
        others = ~torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
        code: Any = self.conv.encode(edges, present[:, :, None] & present[:, None, :] & others)
        hidden = torch.relu(self.embed(nodes))
        for _ in range(self.steps):
            message = torch.relu(self.conv.propagate(hidden, code))
            hidden = self.gru(message.flatten(0, 1), hidden.flatten(0, 1)).view_as(message)
        read: Tensor = self.set2set(hidden, present)
        return read
