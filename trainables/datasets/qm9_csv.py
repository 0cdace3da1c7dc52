"""The CSV files of QM9 as packed in qm9pack: geometry, SMILES and eleven properties."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.errors import DataFormatError

__all__ = [
    "ATOMIC_NUMBERS",
    "ATOM_ENERGIES",
    "CONTRADICTORY",
    "TARGETS",
    "Molecules",
    "Target",
    "read_molecules",
]

HARTREE_IN_EV = 27.2114
ATOMIC_NUMBERS: Mapping[str, int] = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}


@dataclass(frozen=True)
class Target:
    """One property.

    Attributes:
        name: Its name.
        column: Its column in the files.
        factor: From the unit of the files to ``unit``.
        unit: The unit in the papers' tables.
    """

    name: str
    column: str
    factor: float
    unit: str


_MEV = 1000 * HARTREE_IN_EV
TARGETS = (
    Target("mu", "Dipole_debye", 1.0, "D"),
    Target("alpha", "Polarizability_bohr3", 1.0, "a0^3"),
    Target("homo", "HOMO_au", _MEV, "meV"),
    Target("lumo", "LUMO_au", _MEV, "meV"),
    Target("r2", "R2_bohr2", 1.0, "a0^2"),
    Target("zpve", "ZPVE_au", _MEV, "meV"),
    Target("u0", "InternalEnergy_0K_au", _MEV, "meV"),
    Target("u", "InternalEnergy_298K_au", _MEV, "meV"),
    Target("h", "Enthalphy_298K_au", _MEV, "meV"),
    Target("g", "GibbsFreeEnergy_298K_au", _MEV, "meV"),
    Target("cv", "Heatcapacity_Cv_cal_mol_K", 1.0, "cal/(mol K)"),
)
"""The eleven targets in the order of the papers' tables, seven of them x 1000 (eV to meV)."""

ATOM_ENERGIES: Mapping[str, Mapping[int, float]] = {
    name: dict(zip(ATOMIC_NUMBERS.values(), [_MEV * value for value in values], strict=True))
    for name, values in {
        "u0": (-0.500273, -37.846772, -54.583861, -75.064579, -99.718730),
        "u": (-0.498857, -37.845355, -54.582445, -75.063163, -99.717314),
        "h": (-0.497912, -37.844411, -54.581501, -75.062219, -99.716370),
        "g": (-0.510927, -37.861317, -54.598897, -75.079532, -99.733544),
    }.items()
}
"""Energies of the free atoms in meV, by target and atomic number.

Source: atomref.txt of the data set (Ramakrishnan et al., 2014), given in Hartree.
"""

CONTRADICTORY = frozenset({133857, 133859})
"""Molecules whose SMILES has other rings than their geometry, by original number."""

_LARGEST_NUMBER = 2**31 - 1
_COLUMNS = ("Index", "SMILES", "N_atoms", "Elements", "XYZ_Ang", *(t.column for t in TARGETS))


@dataclass(frozen=True)
class Molecules:
    """n molecules with N atoms in all.

    Attributes:
        index: The original number of each molecule, from 1, shape (n,).
        smiles: The SMILES of each molecule.
        starts: The atoms of molecule i are those from ``starts[i]`` to ``starts[i + 1]``, (n + 1,).
        elements: Atomic numbers, shape (N,).
        positions: Coordinates in angstrom, shape (N, 3).
        targets: Values in the units of :data:`TARGETS`, shape (n, 11).
        paths: The files.
        file: Which of them each molecule is from, shape (n,).
        line: Its line there, from 1, shape (n,).
    """

    index: npt.NDArray[np.int64]
    smiles: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    elements: npt.NDArray[np.uint8]
    positions: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float64]
    paths: tuple[Path, ...]
    file: npt.NDArray[np.int64]
    line: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def place(self, item: int) -> str:
        """Where a molecule stands, for messages: file and line."""
        return f"{self.paths[self.file[item]]}: line {self.line[item]}"


def read_molecules(paths: Sequence[Path], leave_out: Collection[int] = ()) -> Molecules:
    """Reads all molecules of some files, in order.

    Args:
        paths: The files.
        leave_out: Original numbers of molecules to leave out.

    Raises:
        DataFormatError: If a column is missing or comes twice, a row has too few or too many cells,
            a cell is no finite number, or a molecule comes twice or cannot be parsed (an unknown
            element, another number of atoms or coordinates than it says); names file, line, column
            and reason. Nothing is returned then.
        OSError: If a file cannot be read.
    """
    seen: set[int] = set()
    index: list[int] = []
    smiles: list[str] = []
    sizes: list[int] = []
    elements: list[int] = []
    positions: list[float] = []
    targets: list[list[float]] = []
    origins: list[tuple[int, int]] = []
    for file, path in enumerate(paths):
        for row in _rows(path):
            number = row.number_of_molecule(seen)
            seen.add(number)
            if number in leave_out:
                continue
            origins.append((file, row.line))
            index.append(number)
            atoms = row.elements()
            smiles.append(row.text("SMILES"))
            sizes.append(len(atoms))
            elements += atoms
            positions += row.coordinates(len(atoms))
            targets.append([row.number(target.column) * target.factor for target in TARGETS])
    return Molecules(
        np.array(index, dtype=np.int64),
        tuple(smiles),
        np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64),
        np.array(elements, dtype=np.uint8),
        np.array(positions, dtype=np.float32).reshape(-1, 3),
        np.array(targets, dtype=np.float64).reshape(-1, len(TARGETS)),
        tuple(paths),
        *np.array(origins, dtype=np.int64).reshape(-1, 2).T,
    )


class _Row:
    """The cells of one line; every complaint names its place."""

    def __init__(self, path: Path, line: int, cells: Mapping[str, str]) -> None:
        self._path, self.line, self._cells = path, line, cells

    def text(self, column: str) -> str:
        value = self._cells[column].strip()
        if not value:
            raise self._error(column, "the cell is empty")
        return value

    def number(self, column: str) -> float:
        text = self.text(column)
        try:
            value = float(text)
        except ValueError as error:
            raise self._error(column, f"{text!r} is no number") from error
        if not math.isfinite(value):
            raise self._error(column, f"{text!r} is not finite")
        return value

    def integer(self, column: str) -> int:
        text = self.text(column)
        try:
            return int(text)
        except ValueError as error:
            raise self._error(column, f"{text!r} is no integer") from error

    def number_of_molecule(self, seen: Collection[int]) -> int:
        """The original number, which no molecule before has: splits are told apart by it."""
        number = self.integer("Index")
        if not 0 < number <= _LARGEST_NUMBER:
            raise self._error("Index", f"{number} is not from 1 to {_LARGEST_NUMBER}")
        if number in seen:
            raise self._error("Index", f"the molecule {number} is there already")
        return number

    def elements(self) -> list[int]:
        """The atomic numbers."""
        symbols = [part.strip(" '\"") for part in self.text("Elements").strip("[]").split(",")]
        for place, symbol in enumerate(symbols):
            if symbol not in ATOMIC_NUMBERS:
                valid = ", ".join(ATOMIC_NUMBERS)
                reason = f"atom {place} is {symbol!r}, which is none of {valid}"
                raise self._error("Elements", reason)
        said = self.integer("N_atoms")
        if said != len(symbols):
            raise self._error("Elements", f"{len(symbols)} atoms where N_atoms says {said}")
        return [ATOMIC_NUMBERS[symbol] for symbol in symbols]

    def coordinates(self, atoms: int) -> list[float]:
        """x, y, z of every atom, one after the other."""
        text = self.text("XYZ_Ang")
        parts = text.replace("[", "").replace("]", "").split(",")
        try:
            values = [float(part) for part in parts]
        except ValueError as error:
            raise self._error("XYZ_Ang", f"not a list of numbers ({error})") from error
        if len(values) != 3 * atoms:
            reason = f"{len(values)} coordinates for {atoms} atoms, {3 * atoms} expected"
            raise self._error("XYZ_Ang", reason)
        if not all(map(math.isfinite, values)):
            raise self._error("XYZ_Ang", "a coordinate is not finite")
        return values

    def _error(self, column: str, reason: str) -> DataFormatError:
        return DataFormatError(f"{self._path}: line {self.line}, column {column}: {reason}")


def _rows(path: Path) -> Iterator[_Row]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file, strict=True)
        lines = _parsed(path, reader)
        header = next(lines, None)
        if header is None:
            raise DataFormatError(f"{path}: line 1: the file is empty")
        missing = [column for column in _COLUMNS if column not in header[1]]
        if missing:
            raise DataFormatError(
                f"{path}: line 1: the column {missing[0]} is missing"
                + (f" (and {', '.join(missing[1:])})" if missing[1:] else "")
            )
        names = header[1]
        twice = [column for column in _COLUMNS if names.count(column) > 1]
        if twice:
            raise DataFormatError(f"{path}: line 1: the column {twice[0]} comes twice")
        count = 0
        for line, cells in lines:
            if len(cells) != len(names):
                raise DataFormatError(
                    f"{path}: line {line}: {len(cells)} cells where the head has {len(names)}"
                )
            count += 1
            yield _Row(path, line, dict(zip(names, cells, strict=True)))
        if not count:
            raise DataFormatError(f"{path}: line 2: there are no molecules")


def _parsed(path: Path, reader: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file with their numbers, bad syntax as our error."""
    lines = iter(reader)
    line = 0
    while True:
        line += 1
        try:
            cells = next(lines)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataFormatError(f"{path}: line {line}: not a line of CSV ({error})") from error
        yield line, cells
