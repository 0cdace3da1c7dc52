"""Pairs of images of two data sets in idx files: reading, splitting and drawing them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trainables.datasets.idx import read_count, read_pair
from trainables.datasets.locate import DataFolder
from trainables.errors import DataFormatError
from trainables.problem import SPLITS

__all__ = ["SIDE", "Images", "Indices", "draw_pairs", "image_counts", "read_images", "split_ranges"]

SIDE = 28
"""Pixels of an image's edge."""

Images = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


def draw_pairs(
    left: Indices,
    right: Indices,
    count: int,
    same: Callable[[Indices, Indices], npt.NDArray[np.bool_]] | None,
    generator: np.random.Generator,
) -> tuple[Indices, Indices]:
    """Left images in order, again and again, with right images drawn uniformly.

    Args:
        left: The left images of a split.
        right: The right images of it.
        count: How many pairs.
        same: Tells the pairs that must be drawn again; ``None`` for none.
        generator: Draws.
    """
    lefts = np.resize(left, count)
    rights = generator.choice(right, size=count)
    if same is not None:
        again = np.flatnonzero(same(lefts, rights))
        while len(again):
            rights[again] = generator.choice(right, size=len(again))
            again = again[same(lefts[again], rights[again])]
    return lefts, rights


def read_images(folder: DataFolder) -> tuple[Images, npt.NDArray[np.uint8], dict[str, Indices]]:
    """All images and classes of a data set, training ones first, and the indices of each split."""
    folder.verify()
    parts = [
        read_pair(
            folder.path / f"{part}-images-idx3-ubyte", folder.path / f"{part}-labels-idx1-ubyte"
        )
        for part in ("train", "t10k")
    ]
    for (images, _), part in zip(parts, ("train", "t10k"), strict=True):
        if images.shape[1:] != (SIDE, SIDE):
            raise DataFormatError(
                f"{folder.path / f'{part}-images-idx3-ubyte'}: byte 8: images of "
                f"{images.shape[1]} x {images.shape[2]} pixels, {SIDE} x {SIDE} expected"
            )
    images, classes = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    ranges = split_ranges(len(parts[0][0]), len(parts[1][0]))
    for split, indices in ranges.items():
        if len(np.unique(classes[indices])) < 2:
            part = "t10k" if split == "test" else "train"
            path = folder.path / f"{part}-labels-idx1-ubyte"
            start = 8 + (len(ranges["train"]) if split == "validation" else 0)
            raise DataFormatError(
                f"{path}: byte {start}: the {len(indices)} labels of the {split} split are not of "
                "two classes or more"
            )
    return images, classes, ranges


def image_counts(folder: DataFolder) -> tuple[int, int]:
    """The numbers of training and of test images."""
    train, test = (
        read_count(folder.path / f"{part}-images-idx3-ubyte") for part in ("train", "t10k")
    )
    return train, test


def split_ranges(train: int, test: int) -> dict[str, Indices]:
    """The last sixth of the training images validates: 10,000 of 60,000."""
    indices = np.arange(train + test, dtype=np.int64)
    fit = train - train // 6
    return dict(zip(SPLITS, np.split(indices, [fit, train]), strict=True))
