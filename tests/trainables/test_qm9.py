"""QM9 on a fixture in the true file format, and on the real files if present."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from molecule_fixtures import COUNT, write_molecules

from mtl_methods.errors import ConfigurationError
from trainables import run_trial
from trainables.data import iterate, to_tensors
from trainables.datasets import find
from trainables.datasets.locate import mark_fixture
from trainables.datasets.qm9_csv import ATOM_ENERGIES, TARGETS, read_molecules
from trainables.errors import CorruptFileError, DataFormatError, DataNotFoundError
from trainables.evaluation import evaluate
from trainables.problems import make_problem
from trainables.spec import TrialSpec

pytest.importorskip("rdkit", reason="rdkit (extra [qm9]) is not installed")

HELD = COUNT // 13
ENERGIES = ("u0", "u", "h", "g")
NAMES = [target.name for target in TARGETS]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_molecules(folder)
    return folder


@pytest.fixture(scope="module")
def raw(root):
    """What the files say, by the original number of the molecule."""
    molecules = read_molecules(sorted((root / "qm9").glob("*.csv")))
    numbers = np.split(molecules.elements, molecules.starts[1:-1])
    return {
        int(index): (numbers[i], molecules.targets[i]) for i, index in enumerate(molecules.index)
    }


def values(arrays, raw, *, atomization=True):
    """The targets of a split in the units of the tables."""
    found = []
    for index in arrays["index"]:
        numbers, targets = raw[int(index)]
        targets = targets.copy()
        if atomization:
            for name in ENERGIES:
                targets[NAMES.index(name)] -= sum(ATOM_ENERGIES[name][int(z)] for z in numbers)
        found.append(targets)
    return np.array(found)


@pytest.mark.parametrize("energies", ["atomization", "total"])
def test_targets_are_standardised_by_what_is_trained_on(root, raw, energies):
    splits = make_problem("qm9", subset=30, energies=energies).load(str(root))
    atomization = energies == "atomization"
    trained = values(splits["train"], raw, atomization=atomization)
    mean, scale = trained.mean(axis=0), trained.std(axis=0)
    for arrays in splits.values():
        expected = (values(arrays, raw, atomization=atomization) - mean) / scale
        np.testing.assert_allclose(arrays["target"], expected, rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(arrays["scale"], np.tile(scale, (len(expected), 1)), rtol=1e-5)
    np.testing.assert_allclose(splits["train"]["target"].mean(axis=0), 0, atol=1e-5)
    assert np.abs(splits["test"]["target"].mean(axis=0)).max() > 1e-2


def test_validation_and_test_molecules_cannot_change_the_targets(root, tmp_path):
    """Other properties of a held-out molecule change nothing that is trained on."""
    first = make_problem("qm9").load(str(root))
    folder = write_molecules(tmp_path)
    held = int(first["test"]["index"][0])
    for path in folder.glob("*.csv"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for i, line in enumerate(lines):
            if line.startswith(f"dsgdb9nsd_{held:06d}.xyz,"):
                lines[i] = line.rsplit(",", 1)[0] + ",1e6"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    mark_fixture(folder)
    second = make_problem("qm9").load(str(tmp_path))
    for name in ("target", "scale", "index"):
        np.testing.assert_array_equal(first["train"][name], second["train"][name])
    assert second["test"]["target"][0, NAMES.index("cv")] > 1e3


def test_splits(root, raw):
    splits = make_problem("qm9").load(str(root))
    sizes = {split: len(arrays["index"]) for split, arrays in splits.items()}
    assert sizes == {"train": COUNT - 2 * HELD, "validation": HELD, "test": HELD}
    everything = np.concatenate([arrays["index"] for arrays in splits.values()])
    assert sorted(everything.tolist()) == sorted(raw)
    assert everything.tolist() != sorted(raw)
    other = make_problem("qm9", data_seed=1).load(str(root))
    assert set(other["test"]["index"]) != set(splits["test"]["index"])


def test_subset_and_held_out_take_the_first_of_the_same_split(root):
    full = make_problem("qm9").load(str(root))
    some = make_problem("qm9", subset=40, held_out=4).load(str(root))
    for split, count in (("train", 40), ("validation", 4), ("test", 4)):
        for name in ("index", "atoms", "positions", "bonds"):
            np.testing.assert_array_equal(some[split][name], full[split][name][:count])
    assert not np.array_equal(some["train"]["scale"][0], full["train"]["scale"][0])
    with pytest.raises(ConfigurationError, match="subset = 111 is more than the 110 train mol"):
        make_problem("qm9", subset=111).load(str(root))
    with pytest.raises(ConfigurationError, match="held_out = 11 is more than the 10 validation"):
        make_problem("qm9", held_out=11).load(str(root))


def test_a_target_that_does_not_vary(tmp_path):
    folder = write_molecules(tmp_path)
    for path in folder.glob("*.csv"):
        lines = path.read_text(encoding="utf-8").splitlines()
        lines[1:] = [line.rsplit(",", 1)[0] + ",6.0" for line in lines[1:]]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    mark_fixture(folder)
    with pytest.raises(ConfigurationError, match="qm9: cv is the same for all 110 training mol"):
        make_problem("qm9").load(str(tmp_path))


def test_units_are_those_of_the_tables():
    units = {task.name: task.metrics[0].unit for task in make_problem("qm9").tasks}
    mev = ("homo", "lumo", "zpve", *ENERGIES)
    assert units == {
        **dict.fromkeys(mev, "meV"),
        "mu": "D",
        "alpha": "a0^3",
        "r2": "a0^2",
        "cv": "cal/(mol K)",
    }
    assert list(units) == NAMES
    for task in make_problem("qm9").tasks:
        assert [metric.name for metric in task.metrics] == ["mae"]
        assert not task.metrics[0].higher_is_better


def test_the_metric_is_the_error_in_these_units(root, raw):
    problem = make_problem("qm9")
    splits = problem.load(str(root))
    tensors = to_tensors(splits)["validation"]
    model = problem.build_model(seed=1)
    losses, metrics = evaluate(problem, model, tensors, problem.make_metrics(), batch_size=3)
    with torch.no_grad():
        batch = next(iterate(problem, tensors, HELD))[1]
        outputs = torch.cat(list(model(batch)[1].values()), dim=1).double().numpy()
    trained = values(splits["train"], raw)
    predicted = outputs * trained.std(axis=0) + trained.mean(axis=0)
    true = values(splits["validation"], raw)
    for k, name in enumerate(NAMES):
        expected = np.abs(predicted[:, k] - true[:, k]).mean()
        assert metrics[name]["mae"] == pytest.approx(expected, rel=1e-4)
        squares = ((predicted[:, k] - true[:, k]) / trained.std(axis=0)[k]) ** 2
        assert losses[name] == pytest.approx(squares.mean(), rel=1e-4)


def test_a_batch_gives_what_single_molecules_give(root):
    problem = make_problem("qm9")
    tensors = to_tensors(problem.load(str(root)))["train"]
    model = problem.build_model(seed=1)
    with torch.no_grad():
        _, together = model(next(iterate(problem, tensors, 80))[1])
        alone = [model(batch)[1] for _, batch in iterate(problem, tensors, 1)][:80]
    for name, outputs in together.items():
        expected = torch.cat([single[name] for single in alone])
        torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)


def test_the_model(root):
    model = make_problem("qm9").build_model()
    sizes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.ndim > 1}
    assert {name: size for name, size in sizes.items() if not name.startswith("heads")} == {
        "shared.embed.weight": (64, 11),
        "shared.conv.edge_hidden.weight": (128, 5),
        "shared.conv.edge_matrix.weight": (4096, 128),
        "shared.conv.root.weight": (64, 64),
        "shared.gru.weight_ih": (192, 64),
        "shared.gru.weight_hh": (192, 64),
        "shared.set2set.lstm.weight_ih": (256, 128),
        "shared.set2set.lstm.weight_hh": (256, 64),
        "shared.linear.weight": (64, 128),
    }
    assert [sizes[f"heads.{name}.weight"] for name in NAMES] == [(1, 64)] * 11
    narrow = make_problem("qm9", hidden=16).build_model()
    assert narrow.shared.conv.edge_matrix.weight.shape == (256, 128)


def spec(**options):
    return {
        "problem": {"name": "qm9", "options": options},
        "method": "ls",
        "training": {"epochs": 3, "batch_size": 16},
        "selection": "loss",
    }


def test_defaults_are_those_of_the_papers():
    training = TrialSpec.from_dict({**spec(), "training": {}}).to_dict()["training"]
    assert (training["optimizer"], training["lr"]) == ("adam", 0.001)
    assert (training["epochs"], training["batch_size"]) == (300, 120)
    assert training["schedule"] == {
        "name": "plateau",
        "factor": 0.7,
        "patience": 5,
        "min_lr": 1e-5,
    }


def test_a_trial_learns_and_the_fixture_is_known(root):
    problem = make_problem("qm9")
    problem.load(str(root))
    assert problem.fixture
    wanted = {**spec(hidden=16), "training": {"epochs": 12, "batch_size": 16, "lr": 0.01}}
    rows = run_trial(wanted, data_dir=str(root))["epochs"]
    for name in ("alpha", "u0", "cv"):
        assert rows[-1][f"train_loss.{name}"] < 0.7 * rows[0][f"train_loss.{name}"]


def test_the_stock_layer_trains_alike(root):
    pytest.importorskip("torch_geometric", reason="torch_geometric (extra [qm9]) is not installed")
    dense, stock = (
        run_trial(spec(hidden=8, layer=layer), data_dir=str(root))["epochs"][-1]
        for layer in ("dense", "stock")
    )
    for name in NAMES:
        key = f"validation.{name}.mae"
        assert dense[key] == pytest.approx(stock[key], rel=1e-3)


def test_graphs_are_made_once_and_mapped(root, caplog):
    caplog.set_level(logging.INFO)
    problem = make_problem("qm9", data_seed=5)
    first, second = problem.load(str(root)), problem.load(str(root))
    assert first["train"]["atoms"].base.filename == second["train"]["atoms"].base.filename
    make_problem("qm9", data_seed=6, subset=20).load(str(root))
    assert "making the graphs" not in caplog.text
    with pytest.raises(ValueError, match="read-only"):
        first["train"]["target"][0] = 0


def test_missing_data_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("FAIRSWEEP_DATA_DIR", str(tmp_path))
    problem = make_problem("qm9")
    assert problem.fixture is False
    for action in (problem.load, problem.sources):
        with pytest.raises(DataNotFoundError) as caught:
            action()
        assert str(caught.value) == (
            f"the data set qm9 is not there: looked in {tmp_path / 'qm9'}; "
            "`fairsweep data get qm9` gets it"
        )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",C#C,", ",C#C(,", "column SMILES: 'C#C(' cannot be parsed"),
        ("HOMO_au", "HOMO", "line 1: the column HOMO_au is missing"),
        ("['O','C','O']", "['O','Si','O']", "column Elements: atom 1 is 'Si'"),
    ],
)
def test_files_that_are_bad_leave_nothing(tmp_path, old, new, message):
    path = write_molecules(tmp_path) / "qm9_part2.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"qm9_part2\.csv is not the file"):
        make_problem("qm9").load(str(tmp_path))
    mark_fixture(path.parent)
    with pytest.raises(DataFormatError, match=r"qm9_part2\.csv: line \d+") as caught:
        make_problem("qm9").load(str(tmp_path))
    assert message in str(caught.value)
    assert not list(tmp_path.glob("cache/*"))


# ------------------------------------------------------------------ the real files


@pytest.fixture(scope="module")
def real():
    try:
        folder = find("qm9")
    except DataNotFoundError as error:
        pytest.skip(str(error))
    if folder.fixture:
        pytest.skip(f"{folder.path} is a fixture")
    return folder


@pytest.mark.slow
def test_real_molecules(real):
    """What is known of the data set: sizes, largest molecule, standard deviations."""
    splits = make_problem("qm9").load()
    assert {split: len(arrays["index"]) for split, arrays in splits.items()} == {
        "train": 110_000,
        "validation": 10_000,
        "test": 10_000,
    }
    train = splits["train"]
    sizes = (train["atoms"][..., 0] > 0).sum(axis=1)
    assert (sizes.min(), sizes.max()) == (3, 29)
    assert sizes.mean() == pytest.approx(18.03, abs=0.02)
    scale = dict(zip(NAMES, train["scale"][0], strict=True))
    for name, known in {"mu": 1.50, "alpha": 8.17, "homo": 597, "lumo": 1274, "u0": 10324}.items():
        assert scale[name] == pytest.approx(known, rel=0.01)
    assert sum(array.nbytes for array in train.values()) < 72e6
    # Every atom of a molecule of several is bonded.
    bonded = np.zeros((1000, 29), bool)
    for end in (0, 1):
        kept = train["bonds"][:1000, :, 2] > 0
        item = np.nonzero(kept)[0]
        bonded[item, train["bonds"][:1000, :, end][kept]] = True
    assert (bonded == (train["atoms"][:1000, :, 0] > 0)).all()
