"""The CSV files of QM9 as packed in qm9pack: geometry, SMILES and eleven properties."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.errors import DataFormatError

__all__ = ["ATOMIC_NUMBERS", "TARGETS", "Molecules", "Target", "read_molecules"]

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
    """

    index: npt.NDArray[np.int64]
    smiles: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    elements: npt.NDArray[np.uint8]
    positions: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)


def read_molecules(paths: Sequence[Path]) -> Molecules:
    """Reads all molecules of some files, in order.

    Raises:
        DataFormatError: If a column is missing, a row has too few or too many cells, a cell is no
            finite number, or a molecule cannot be parsed (an unknown element, another number of
            atoms or coordinates than it says); names file, line, column and reason. Nothing is
            returned then.
        OSError: If a file cannot be read.
    """
    index: list[int] = []
    smiles: list[str] = []
    sizes: list[int] = []
    elements: list[int] = []
    positions: list[float] = []
    targets: list[list[float]] = []
    for path in paths:
        for row in _rows(path):
            atoms = row.elements()
            index.append(row.integer("Index"))
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
    )


class _Row:
    """The cells of one line; every complaint names its place."""

    def __init__(self, path: Path, line: int, cells: Mapping[str, str]) -> None:
        self._path, self._line, self._cells = path, line, cells

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
        return DataFormatError(f"{self._path}: line {self._line}, column {column}: {reason}")


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
