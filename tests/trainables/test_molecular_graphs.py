from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
from molecule_fixtures import MOLECULES, write_molecules

from trainables.datasets.locate import mark_fixture
from trainables.datasets.molecular_graphs import molecular_graphs
from trainables.datasets.qm9_csv import read_molecules
from trainables.errors import DataFormatError, MissingExtraError
from trainables.graph_batch import complete_graphs

NAMES = list(MOLECULES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_molecules(tmp_path_factory.mktemp("data"), count=len(NAMES))


def files(folder):
    return sorted(folder.glob("*.csv"))


@pytest.fixture(scope="module")
def molecules(folder):
    return read_molecules(files(folder))


@pytest.fixture(scope="module")
def graphs(molecules):
    pytest.importorskip("rdkit", reason="rdkit (extra [qm9]) is not installed")
    return molecular_graphs(molecules)


def bonds(graphs, name):
    found = graphs.bonds[NAMES.index(name)]
    return {(min(a, b), max(a, b), k) for a, b, k in found.tolist() if k}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("methane", {(0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1)}),
        ("acetylene", {(0, 1, 3), (0, 2, 1), (1, 3, 1)}),
        ("carbon dioxide", {(0, 1, 2), (1, 2, 2)}),
        ("hydrogen cyanide", {(0, 1, 3), (1, 2, 1)}),
        (
            "benzene",
            {(min(i, (i + 1) % 6), max(i, (i + 1) % 6), 4) for i in range(6)}
            | {(i, i + 6, 1) for i in range(6)},
        ),
    ],
)
def test_bonds_lie_between_the_atoms_of_the_geometry(graphs, name, expected):
    assert bonds(graphs, name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("methane", [[6, 3, 0, 4]] + [[1, 0, 0, 0]] * 4),
        ("carbon dioxide", [[8, 2, 0, 0], [6, 1, 0, 0], [8, 2, 0, 0]]),
        ("hydrogen cyanide", [[7, 1, 0, 0], [6, 1, 0, 1], [1, 0, 0, 0]]),
        ("benzene", [[6, 2, 1, 1]] * 6 + [[1, 0, 0, 0]] * 6),
    ],
)
def test_features_of_atoms(graphs, name, expected):
    atoms = graphs.atoms[NAMES.index(name)]
    assert atoms[: len(expected)].tolist() == expected
    assert not atoms[len(expected) :].any()


def test_complete_graphs(graphs, molecules):
    items = [NAMES.index(name) for name in ("water", "acetylene")]
    stored = (graphs.atoms, graphs.positions, graphs.bonds)
    nodes, edges, present = complete_graphs(*(torch.from_numpy(a[items]) for a in stored))
    assert present.tolist() == [[True] * 3 + [False], [True] * 4]
    assert nodes.shape == (2, 4, 11)
    assert edges.shape == (2, 4, 4, 5)
    # element (H, C, N, O, F), number, aromatic, sp, sp2, sp3, hydrogens
    assert nodes[0, 0].tolist() == [0, 0, 0, 1, 0, 8, 0, 0, 0, 1, 2]
    assert nodes[0, 1].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert nodes[1, 0].tolist() == [0, 1, 0, 0, 0, 6, 0, 1, 0, 0, 1]
    assert not nodes[0, 3].any()
    assert not edges[0, 3].any()
    assert not edges[0, :, 3].any()
    torch.testing.assert_close(edges, edges.transpose(1, 2))
    assert edges[1, 0, 1, :4].tolist() == [0, 0, 1, 0]
    assert edges[1, 0, 3, :4].tolist() == [0, 0, 0, 0]
    start = molecules.starts[items[1]]
    expected = np.linalg.norm(molecules.positions[start] - molecules.positions[start + 3])
    assert edges[1, 0, 3, 4].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("C#C", "C#", "'C#' cannot be parsed: it is no SMILES"),
        ("C#C", "C#C=C#C", "cannot be parsed: Explicit valence for atom # 1 C, 5, is greater"),
        ("C#C", "C=C", "'C=C' has other atoms than the geometry (6, 4)"),
        ("C#C", "[H][H].C#C", "has other atoms than the geometry (6, 4)"),
        ("O=C=O", "C1OO1", "has other atoms than the geometry (5, 3)"),
        ("O=C=O", "[C]1OO1", "has other bonds than the contacts of the geometry"),
    ],
)
def test_a_molecule_that_cannot_be_parsed(folder, tmp_path, old, new, reason):
    pytest.importorskip("rdkit", reason="rdkit (extra [qm9]) is not installed")
    path = next(path for path in files(folder) if f",{old}," in path.read_text(encoding="utf-8"))
    text = path.read_text(encoding="utf-8")
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if f",{old}," in row)
    bad = tmp_path / path.name
    bad.write_text(text.replace(f",{old},", f",{new},"), encoding="utf-8")
    expected = f"{bad}: line {line}, column SMILES: {new!r} "
    with pytest.raises(DataFormatError, match="^" + re.escape(expected)) as caught:
        molecular_graphs(read_molecules([bad]))
    assert reason in str(caught.value)


def test_molecules_left_out_are_not_even_parsed(tmp_path):
    folder = write_molecules(tmp_path, count=6)
    for path in files(folder):
        lines = path.read_text(encoding="utf-8").replace(",N,", ",X,")
        path.write_text(lines, encoding="utf-8")
    mark_fixture(folder)
    molecules = read_molecules(files(folder), leave_out={4})
    assert molecules.index.tolist() == [1, 7, 10, 13, 16]
    assert "X" not in molecules.smiles


def test_without_rdkit(molecules, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(MissingExtraError, match=r"qm9 needs the package rdkit.*\.\[qm9\]"):
        molecular_graphs(molecules)
