"""Real data sets: what they are, how they are obtained, where they lie, how they are read."""

from __future__ import annotations

from trainables.datasets.catalogue import DataFile, DataSet, dataset, list_datasets
from trainables.datasets.locate import DATA_DIR, DataFolder, data_root, find
from trainables.datasets.obtain import Obtained, obtain

__all__ = [
    "DATA_DIR",
    "DataFile",
    "DataFolder",
    "DataSet",
    "Obtained",
    "data_root",
    "dataset",
    "find",
    "list_datasets",
    "obtain",
]
