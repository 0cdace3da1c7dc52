"""Made-up digits and clothes in the true file format, marked as a fixture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.datasets.idx import write_idx
from trainables.datasets.locate import mark_fixture

TRAIN, TEST = 180, 60


def write_fixture(root: Path, name: str, *, train: int = TRAIN, test: int = TEST) -> Path:
    """Blobs whose place tells their class, in the files of a data set of the MNIST family."""
    folder = root / name
    folder.mkdir(parents=True)
    generator = np.random.default_rng([len(name), train])
    for part, count in (("train", train), ("t10k", test)):
        labels = generator.integers(0, 10, size=count).astype(np.uint8)
        images = generator.integers(0, 40, size=(count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 5)
            image[4 + 10 * row : 12 + 10 * row, 3 + 4 * column : 9 + 4 * column] = 255
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
    mark_fixture(folder)
    return folder
