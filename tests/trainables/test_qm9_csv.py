from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from molecule_fixtures import HEAD

from trainables.datasets import find
from trainables.datasets.qm9_csv import TARGETS, read_molecules
from trainables.errors import DataFormatError, DataNotFoundError

WATER = (
    '"dsgdb9nsd_000003.xyz",3,"O","InChI=1S/H2O/h1H2",3,"[2,0,0,1,0]","[\'O\',\'H\',\'H\']",'
    '"[[-0.0343604951,0.9775395708,0.0076015923],[0.0647664923,0.0205721989,0.0015346341],'
    '[0.8717903737,1.3007924048,0.0006931336]]","[-0.589706,0.294853,0.294853]",'
    '"[1671.4222,3803.6305,3907.698]",799.58812,437.90386,282.94545,1.8511,6.31,-0.2928,0.0687,'
    "0.3615,19.0002,0.021375,-76.404702,-76.401867,-76.400922,-76.422349,6.002"
)
HCN = (
    '"dsgdb9nsd_000005.xyz",5,"C#N","InChI=1S/CHN/c1-2/h1H",3,"[1,1,1,0,0]","[\'C\',\'N\',\'H\']",'
    '"[[-0.0133,1.1324,0.],[0.0023,-0.0191,1.],[-0.0278,2.1989,0.0141]]","[0,0,0]","[799.0101]",'
    "0.,44.593883,44.593883,2.8937,12.99,-0.3604,0.0191,0.3796,48.7476,0.016601,-93.411888,"
    "-93.40937,-93.408425,-93.431246,6.278"
)


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def changed(line, column, value):
    """The line with another cell."""
    names = HEAD.split(",")
    cells = next(csv.reader([line]))
    cells[names.index(column)] = value
    stream = io.StringIO()
    csv.writer(stream).writerow(cells)
    return stream.getvalue().strip()


def test_molecules_of_several_files_in_the_units_of_the_tables(tmp_path):
    again = changed(WATER, "Index", "7")
    molecules = read_molecules(
        [write(tmp_path / "1.csv", HEAD, WATER), write(tmp_path / "2.csv", HEAD, HCN, again)]
    )
    assert len(molecules) == 3
    assert molecules.index.tolist() == [3, 5, 7]
    assert molecules.smiles == ("O", "C#N", "O")
    assert molecules.starts.tolist() == [0, 3, 6, 9]
    assert molecules.elements.tolist() == [8, 1, 1, 6, 7, 1, 8, 1, 1]
    np.testing.assert_allclose(molecules.positions[1], [0.0647664923, 0.0205721989, 0.0015346341])
    np.testing.assert_allclose(molecules.positions[3], [-0.0133, 1.1324, 0.0])
    assert [molecules.place(i) for i in range(3)] == [
        f"{tmp_path / '1.csv'}: line 2",
        f"{tmp_path / '2.csv'}: line 2",
        f"{tmp_path / '2.csv'}: line 3",
    ]
    assert [t.name for t in TARGETS] == [
        "mu",
        "alpha",
        "homo",
        "lumo",
        "r2",
        "zpve",
        "u0",
        "u",
        "h",
        "g",
        "cv",
    ]
    np.testing.assert_allclose(
        molecules.targets[0],
        [1.8511, 6.31, -7967.498, 1869.423, 19.0002, 581.644]
        + [energy * 27211.4 for energy in (-76.404702, -76.401867, -76.400922, -76.422349)]
        + [6.002],
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "line 1: the file is empty"),
        ((HEAD,), "line 2: there are no molecules"),
        ((HEAD.replace("HOMO_au", "HOMO", 1), WATER), "line 1: the column HOMO_au is missing"),
        ((HEAD, WATER, changed(HCN, "HOMO_au", "x")), "line 3, column HOMO_au: 'x' is no number"),
        ((HEAD, changed(HCN, "R2_bohr2", "nan")), "line 2, column R2_bohr2: 'nan' is not finite"),
        ((HEAD, changed(HCN, "ZPVE_au", "")), "line 2, column ZPVE_au: the cell is empty"),
        ((HEAD, changed(HCN, "Index", "5.5")), "line 2, column Index: '5.5' is no integer"),
        ((HEAD, changed(HCN, "Index", "0")), "line 2, column Index: 0 is not from 1 to 2147483647"),
        ((HEAD, changed(HCN, "Index", "9" * 30)), f"line 2, column Index: {'9' * 30} is not from"),
        ((HEAD, HCN, HCN), "line 3, column Index: the molecule"),
        ((f"{HEAD},ZPVE_au", f"{HCN},1"), "line 1: the column ZPVE_au comes twice"),
        (
            (HEAD, changed(HCN, "Elements", "['C','Xx','H']")),
            "line 2, column Elements: atom 1 is 'Xx', which is none of H, C, N, O, F",
        ),
        (
            (HEAD, changed(HCN, "Elements", "['C','N']")),
            "line 2, column Elements: 2 atoms where N_atoms says 3",
        ),
        (
            (HEAD, changed(HCN, "XYZ_Ang", "[[0,1,2],[3,4,5]]")),
            "line 2, column XYZ_Ang: 6 coordinates for 3 atoms, 9 expected",
        ),
        (
            (HEAD, changed(HCN, "XYZ_Ang", "[[0,1,2],[3,4,5],[a,b,c]]")),
            "line 2, column XYZ_Ang: not a list of numbers",
        ),
        ((HEAD, WATER, HCN[:-200]), "line 3: "),
    ],
)
def test_bad_files_name_file_line_column_and_reason(tmp_path, lines, message):
    path = tmp_path / "qm9_part1.csv"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with pytest.raises(DataFormatError, match=f"^{re.escape(f'{path}: {message}')}"):
        read_molecules([path])


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(HEAD.encode() + b"\n\xff\xfe\n")
    with pytest.raises(DataFormatError, match=r"x\.csv: line \d: not a line of CSV"):
        read_molecules([path])


def test_real_files():
    try:
        folder = find("qm9")
    except DataNotFoundError as error:
        pytest.skip(str(error))
    molecules = read_molecules([folder.path / file.name for file in folder.data.files])
    assert len(molecules) == 130_831
    assert len(molecules.elements) == molecules.starts[-1] == 2_359_210
    assert molecules.index.min() == 1
    assert molecules.index.max() <= 133_885
    assert np.isfinite(molecules.targets).all()
