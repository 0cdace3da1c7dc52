"""Made-up molecules in the true file format of QM9, marked as a fixture."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from trainables.datasets.locate import mark_fixture
from trainables.datasets.qm9_csv import ATOM_ENERGIES, ATOMIC_NUMBERS, HARTREE_IN_EV

HEAD = (
    "XYZ_file,Index,SMILES,InChi,N_atoms,Stoichiometry,Elements,XYZ_Ang,Mulliken_pop,"
    "Harmonic_Freq_cmi,RotA_GHz,RotB_GHz,RotC_GHz,Dipole_debye,Polarizability_bohr3,HOMO_au,"
    "LUMO_au,HOMO_LUMO_gap_au,R2_bohr2,ZPVE_au,InternalEnergy_0K_au,InternalEnergy_298K_au,"
    "Enthalphy_298K_au,GibbsFreeEnergy_298K_au,Heatcapacity_Cv_cal_mol_K"
)
COUNT = 130

_TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
_ANGLES = np.arange(6) * np.pi / 3
_HEXAGON = np.stack([np.cos(_ANGLES), np.sin(_ANGLES), 0 * _ANGLES], axis=1)
_ORIGIN = np.zeros((1, 3))


def _line(*places):
    return np.array([[place, 0.0, 0.0] for place in places])


# SMILES, elements in the order of the geometry, geometry in angstrom.
MOLECULES = {
    "methane": ("C", "CHHHH", np.concatenate([_ORIGIN, 1.09 * _TETRAHEDRON])),
    "ammonia": ("N", "NHHH", np.concatenate([_ORIGIN, 1.01 * _TETRAHEDRON[:3]])),
    "water": ("O", "OHH", np.concatenate([_ORIGIN, 0.96 * _TETRAHEDRON[:2]])),
    "fluoroform": ("C(F)(F)F", "CFFFH", np.concatenate([_ORIGIN, 1.3 * _TETRAHEDRON])),
    "acetylene": ("C#C", "CCHH", _line(0.0, 1.2, -1.06, 2.26)),
    "carbon dioxide": ("O=C=O", "OCO", _line(-1.16, 0.0, 1.16)),
    "formaldehyde": (
        "C=O",
        "COHH",
        np.array([[0, 0, 0], [1.21, 0, 0], [-0.58, 0.94, 0], [-0.58, -0.94, 0]]),
    ),
    "benzene": ("c1ccccc1", "C" * 6 + "H" * 6, np.concatenate([1.39 * _HEXAGON, 2.48 * _HEXAGON])),
    # The geometry has the nitrogen first, the SMILES the carbon.
    "hydrogen cyanide": ("C#N", "NCH", _line(-1.16, 0.0, 1.06)),
}


def row(name, index, generator):
    """A line of a file: the molecule turned and shaken, with properties that depend on it."""
    smiles, elements, geometry = MOLECULES[name]
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    positions = geometry @ turn + generator.normal(size=geometry.shape) * 0.02
    numbers = [ATOMIC_NUMBERS[element] for element in elements]
    size = float(np.linalg.norm(positions - positions.mean(axis=0)))
    energy = sum(ATOM_ENERGIES["u0"][number] for number in numbers) / (1000 * HARTREE_IN_EV)
    energy -= 0.1 * len(numbers) + 0.05 * size
    properties = [
        *generator.uniform(10, 500, size=3),
        size + 0.1 * generator.random(),
        1.5 * sum(numbers) + size,
        *(values := (-0.2 - 0.01 * size, 0.1 / size)),
        values[1] - values[0],
        10 * size**2,
        0.01 * elements.count("H") + 0.001 * size,
        energy,
        energy + 0.003 + 0.0001 * size,
        energy + 0.004 + 0.0001 * size,
        energy - 0.02 - 0.001 * size,
        2.0 * len(numbers) + size,
    ]
    stoichiometry = [elements.count(symbol) for symbol in ATOMIC_NUMBERS]
    return [
        f"dsgdb9nsd_{index:06d}.xyz",
        str(index),
        smiles,
        "InChI=made-up",
        str(len(elements)),
        _list(stoichiometry),
        "[" + ",".join(f"'{symbol}'" for symbol in elements) + "]",
        "[" + ",".join(_list(f"{x:.10g}" for x in position) for position in positions) + "]",
        _list(f"{x:.6f}" for x in generator.normal(size=len(elements))),
        _list(f"{x:.4f}" for x in generator.uniform(500, 3500, size=3)),
        *(f"{value:.9g}" for value in properties),
    ]


def write_molecules(root: Path, *, count: int = COUNT, names=tuple(MOLECULES)) -> Path:
    """So many molecules in the three files of the data set ``qm9``."""
    folder = root / "qm9"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(count)
    rows = [row(names[i % len(names)], 3 * i + 1, generator) for i in range(count)]
    for part, chosen in enumerate(np.array_split(np.arange(count), 3), start=1):
        with (folder / f"qm9_part{part}.csv").open("w", newline="", encoding="utf-8") as file:
            file.write(HEAD + "\n")
            csv.writer(file, lineterminator="\n").writerows([rows[i] for i in chosen])
    mark_fixture(folder)
    return folder


def _list(values):
    return "[" + ",".join(map(str, values)) + "]"
