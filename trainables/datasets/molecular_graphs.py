"""From geometries and SMILES to compact graphs: atoms, positions and bonds in small integers.

Bonds, hybridisation and aromaticity are those that RDKit finds in the SMILES. The SMILES mostly
lists atoms in the order of the geometry; where it does not, atoms are assigned by matching the
graph of the SMILES with the contacts of the geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.datasets.qm9_csv import Molecules
from trainables.errors import DataFormatError
from trainables.optional import optional_import

__all__ = ["BOND_TYPES", "MolecularGraphs", "check_rdkit", "molecular_graphs"]

BOND_TYPES = ("single", "double", "triple", "aromatic")
"""The types of bonds, in the order of their numbers from 1."""

_RADII = {1: 0.31, 6: 0.76, 7: 0.71, 8: 0.66, 9: 0.57}  # covalent, in angstrom (Cordero 2008)
_CONTACT = 1.3  # atoms closer than so many sums of their radii may be bonded

Contacts = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MolecularGraphs:
    """n molecules, padded with zeros to the largest: N atoms, M bonds.

    Attributes:
        atoms: Shape (n, N, 4) uint8: atomic number (0 where there is no atom), hybridisation (1, 2,
            3 for sp, sp2, sp3, 0 for another), 1 if aromatic, number of bonded hydrogens.
        positions: In angstrom, shape (n, N, 3) float32.
        bonds: Shape (n, M, 3) uint8: two atoms and the number of the type in :data:`BOND_TYPES`
            from 1; type 0 where there is no bond. Each bond is there once.
    """

    atoms: npt.NDArray[np.uint8]
    positions: npt.NDArray[np.float32]
    bonds: npt.NDArray[np.uint8]


def check_rdkit() -> None:
    """Checks that graphs can be made here, before anything long is begun.

    Raises:
        MissingExtraError: If RDKit is not installed.
    """
    _rdkit("rdkit")


def molecular_graphs(molecules: Molecules) -> MolecularGraphs:
    """Builds the graphs of molecules.

    Raises:
        DataFormatError: If a SMILES cannot be parsed, or its atoms and bonds are not those of the
            geometry; names file, line, column and reason. Nothing is returned then.
        MissingExtraError: If RDKit is not installed.
    """
    chemistry = _Chemistry()
    sizes = np.diff(molecules.starts)
    count, most = len(molecules), int(sizes.max())
    atoms = np.zeros((count, most, 4), np.uint8)
    positions = np.zeros((count, most, 3), np.float32)
    found: list[list[tuple[int, int, int]]] = []
    for item in range(count):
        own = slice(molecules.starts[item], molecules.starts[item + 1])
        size = sizes[item]
        positions[item, :size] = molecules.positions[own]
        try:
            features, bonds = chemistry.graph(
                molecules.smiles[item], molecules.elements[own], molecules.positions[own]
            )
        except ValueError as error:
            place = f"{molecules.place(item)}, column SMILES"
            raise DataFormatError(f"{place}: {molecules.smiles[item]!r} {error}") from error
        atoms[item, :size] = features
        found.append(bonds)
    bonds_array = np.zeros((count, max(map(len, found)), 3), np.uint8)
    for item, bonds in enumerate(found):
        bonds_array[item, : len(bonds)] = np.array(bonds, np.uint8).reshape(-1, 3)
    return MolecularGraphs(atoms, positions, bonds_array)


class _Chemistry:
    """RDKit, and what is asked of it. ``ValueError`` says what is wrong with a molecule."""

    def __init__(self) -> None:
        self._chem, self._base = _rdkit("rdkit.Chem"), _rdkit("rdkit.rdBase")
        kinds, hybrids = self._chem.BondType, self._chem.HybridizationType
        self._types = {
            kinds.SINGLE: 1,
            kinds.DOUBLE: 2,
            kinds.TRIPLE: 3,
            kinds.AROMATIC: 4,
        }
        self._hybrids = {hybrids.SP: 1, hybrids.SP2: 2, hybrids.SP3: 3}

    def graph(
        self,
        smiles: str,
        elements: npt.NDArray[np.uint8],
        positions: npt.NDArray[np.float32],
    ) -> tuple[npt.NDArray[np.uint8], list[tuple[int, int, int]]]:
        """Features (N, 4) of the atoms of a geometry, and the bonds between them."""
        molecule = self._parse(smiles)
        numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
        if sorted(numbers) != sorted(elements):
            raise ValueError(f"has other atoms than the geometry ({len(numbers)}, {len(elements)})")
        bonds = [
            (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), self._types.get(bond.GetBondType(), 0))
            for bond in molecule.GetBonds()
        ]
        if any(kind == 0 for _, _, kind in bonds):
            raise ValueError("has a bond that is none of " + ", ".join(BOND_TYPES))
        close = _contacts(elements, positions)
        place = self._places(numbers, bonds, elements, close)
        features = np.zeros((len(numbers), 4), np.uint8)
        for number, atom in enumerate(molecule.GetAtoms()):
            features[place[number]] = (
                atom.GetAtomicNum(),
                self._hybrids.get(atom.GetHybridization(), 0),
                atom.GetIsAromatic(),
                atom.GetTotalNumHs(includeNeighbors=True),
            )
        return features, [(place[one], place[other], kind) for one, other, kind in bonds]

    def _parse(self, smiles: str) -> Any:
        with self._base.BlockLogs():
            molecule = self._chem.MolFromSmiles(smiles)
            if molecule is None:
                raise ValueError(f"cannot be parsed: {self._complaint(smiles)}")
            return self._chem.AddHs(molecule)

    def _complaint(self, smiles: str) -> str:
        raw = self._chem.MolFromSmiles(smiles, sanitize=False)
        if raw is None:
            return "it is no SMILES"
        try:
            self._chem.SanitizeMol(raw)
        except self._chem.MolSanitizeException as error:
            return str(error).strip()
        return "RDKit refuses it"

    def _places(
        self,
        numbers: Sequence[int],
        bonds: Sequence[tuple[int, int, int]],
        elements: npt.NDArray[np.uint8],
        close: Contacts,
    ) -> Sequence[int]:
        """Which atom of the geometry each atom of the SMILES is."""
        if list(elements) == list(numbers) and all(close[one, other] for one, other, _ in bonds):
            return range(len(numbers))
        contacts = list(zip(*np.nonzero(np.triu(close)), strict=True))
        geometry = self._skeleton(elements.tolist(), contacts)
        match = geometry.GetSubstructMatch(
            self._skeleton(numbers, [(one, other) for one, other, _ in bonds])
        )
        if not match:
            raise ValueError("has other bonds than the contacts of the geometry")
        return [int(place) for place in match]

    def _skeleton(self, numbers: Sequence[int], pairs: Sequence[tuple[int, int]]) -> Any:
        """A graph of atoms without anything but their elements."""
        graph = self._chem.RWMol()
        for number in numbers:
            atom = self._chem.Atom(int(number))
            atom.SetNoImplicit(True)
            graph.AddAtom(atom)
        for one, other in pairs:
            graph.AddBond(int(one), int(other), self._chem.BondType.SINGLE)
        return graph.GetMol()


def _rdkit(module: str) -> Any:
    return optional_import(module, extra="qm9", purpose="reading the molecules of the problem qm9")


def _contacts(elements: npt.NDArray[np.uint8], positions: npt.NDArray[np.float32]) -> Contacts:
    """Which pairs of atoms are close enough for a bond, shape (N, N)."""
    radii = np.array([_RADII[int(number)] for number in elements])
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    close: Contacts = distances < _CONTACT * (radii[:, None] + radii[None])
    np.fill_diagonal(close, val=False)
    return close
