from __future__ import annotations

import hashlib

import pytest
import torch
from dataset_fakes import CONTENT
from trainables_fakes import FAKES

import trainables.datasets.catalogue as catalogue
from mtl_methods import make_method
from trainables.data import DataCache
from trainables.datasets import DataFile, DataSet
from trainables.spec import TrialSpec

OPTIONS = {"tasks": "CL_RR", "train_pairs": 320, "validation_pairs": 200, "test_pairs": 200}
REFERENCE = {"CL": {"accuracy": 0.97}, "RR": {"mse": 0.014}}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _fake_methods(monkeypatch):
    fakes = {fake.name: fake for fake in FAKES}

    def make(name, **hyperparameters):
        if name in fakes:
            return fakes[name].from_settings(hyperparameters)
        return make_method(name, **hyperparameters)

    monkeypatch.setattr("trainables.spec.make_method", make)


@pytest.fixture(scope="session")
def data():
    """Tensors of small problems, made once."""
    return DataCache()


@pytest.fixture
def make_spec():
    """A small trial: ``make_spec("ls", epochs=2, seed=3, hyperparameters={...}, **top_level)``."""

    def make(
        method="ls",
        *,
        hyperparameters=None,
        options=None,
        seed=3,
        reference=REFERENCE,
        evaluate_test=False,
        selection="delta_mtm",
        **training,
    ):
        return TrialSpec.from_dict(
            {
                "problem": {"name": "multi_digits", "options": {**OPTIONS, **(options or {})}},
                "method": {"name": method, "hyperparameters": hyperparameters or {}},
                "training": {"epochs": 3, "batch_size": 64, "lr": 2.5e-3, **training},
                "seed": seed,
                "evaluate_test": evaluate_test,
                "selection": selection,
                "reference": reference,
            }
        )

    return make


@pytest.fixture
def tiny(monkeypatch):
    """A data set of two small files, in the catalogue."""
    files = tuple(
        DataFile(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in CONTENT.items()
    )
    data = DataSet("tiny", "two files", "nobody", "none", files, ())
    monkeypatch.setitem(catalogue._DATASETS, "tiny", data)
    return data
