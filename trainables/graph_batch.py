"""From molecules as they are stored to complete graphs with features, batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["EDGE_CHANNELS", "NODE_CHANNELS", "complete_graphs"]

_ELEMENTS = (1, 6, 7, 8, 9)
_BONDS = 4
NODE_CHANNELS = len(_ELEMENTS) + 6
"""Per node: element (5, one-hot), atomic number, aromatic, sp, sp2, sp3, bonded hydrogens."""
EDGE_CHANNELS = _BONDS + 1
"""Per edge: bond type (4, one-hot, all 0 without a bond), distance in angstrom."""


def complete_graphs(
    atoms: Tensor, positions: Tensor, bonds: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The complete graphs of a batch, padded to its largest molecule.

    Args:
        atoms: As in :class:`trainables.datasets.molecular_graphs.MolecularGraphs`, (B, A, 4).
        positions: (B, A, 3).
        bonds: (B, M, 3).

    Returns:
        Node features (B, N, 11), edge features (B, N, N, 5) and which nodes there are, (B, N) bool,
        with N the atoms of the largest molecule. Features of what is not there are 0.
    """
    present = atoms[..., 0] > 0
    size = int(present.sum(dim=1).max())
    atoms, present, positions = atoms[:, :size].long(), present[:, :size], positions[:, :size]
    number, hybrid, aromatic, hydrogens = atoms.unbind(dim=-1)
    elements = torch.tensor(_ELEMENTS, device=atoms.device)
    nodes = torch.cat(
        [
            number[..., None] == elements,
            number[..., None],
            aromatic[..., None],
            functional.one_hot(hybrid, 4)[..., 1:],
            hydrogens[..., None],
        ],
        dim=-1,
    ).float()
    distances = torch.linalg.vector_norm(positions[:, :, None] - positions[:, None], dim=-1)
    both = present[:, :, None] & present[:, None, :]
    edges = torch.zeros(*both.shape, EDGE_CHANNELS, device=atoms.device)
    edges[..., _BONDS] = distances * both
    one, other, kind = bonds.long().unbind(dim=-1)
    item, place = kind.nonzero(as_tuple=True)
    one, other, kind = one[item, place], other[item, place], kind[item, place] - 1
    edges[item, one, other, kind] = 1.0
    edges[item, other, one, kind] = 1.0
    return nodes, edges, present
