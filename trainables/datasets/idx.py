"""The idx format of MNIST and its relatives: a stack of images or labels in one file."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.errors import DataFormatError

__all__ = ["read_count", "read_images", "read_labels", "read_pair", "write_idx"]

_UNSIGNED_BYTE = 0x08
_IMAGES = 3
_LABELS = 1
_LARGEST_ITEM_COUNT = 2**31


def read_images(path: Path) -> npt.NDArray[np.uint8]:
    """Reads the images of an idx file of three dimensions.

    The file is the magic number 0x00000803 (unsigned bytes, three dimensions), the sizes of the
    dimensions as big-endian unsigned 32 bit integers, and the pixels, row by row.

    Returns:
        The images, shape (n, height, width), intensities 0 to 255.

    Raises:
        DataFormatError: If the magic number is another one, the file ends early or goes on after
            the last pixel, or a size is 0; names file, position and reason.
        OSError: If the file cannot be read.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
    """
    return _read(path, _IMAGES)


def read_labels(path: Path) -> npt.NDArray[np.uint8]:
    """Reads the labels of an idx file of one dimension, magic number 0x00000801.

    Returns:
        The labels, shape (n,).

    Raises:
        DataFormatError: As :func:`read_images`.
        OSError: If the file cannot be read.
    """
    return _read(path, _LABELS)


def read_pair(
    images_path: Path, labels_path: Path, *, classes: int = 10
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Reads images (n, height, width) with their labels (n,), each from 0 to ``classes`` - 1.

    Raises:
        DataFormatError: As :func:`read_images`; also if there are not as many labels as images, or
            a label is no class.
        OSError: If a file cannot be read.
    """
    images, labels = read_images(images_path), read_labels(labels_path)
    if len(images) != len(labels):
        raise DataFormatError(
            f"{labels_path}: byte 4: {len(labels)} labels do not fit the {len(images)} images of "
            f"{images_path}"
        )
    wrong = np.flatnonzero(labels >= classes)
    if len(wrong):
        first = int(wrong[0])
        raise DataFormatError(
            f"{labels_path}: byte {_header_size(_LABELS) + first}: label {int(labels[first])} of "
            f"item {first} is none of the classes 0 to {classes - 1}"
        )
    return images, labels


def read_count(path: Path) -> int:
    """The number of items of an idx file, from its first eight bytes alone.

    Raises:
        DataFormatError: If these are not there or begin with no magic number of unsigned bytes.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8 or head[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise DataFormatError(f"{path}: byte 0: not the head of an idx file of unsigned bytes")
    return int(struct.unpack(">I", head[4:])[0])


def write_idx(path: Path, values: npt.NDArray[np.uint8]) -> None:
    """Writes images (n, height, width) or labels (n,) as an idx file, for fixtures."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, _UNSIGNED_BYTE, values.ndim, *values.shape)
    path.write_bytes(head + np.ascontiguousarray(values, dtype=np.uint8).tobytes())


def _read(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    content = path.read_bytes()
    expected = bytes([0, 0, _UNSIGNED_BYTE, dimensions])
    if content[:4] != expected:
        found = f"0x{content[:4].hex()}" if content else "an empty file"
        raise DataFormatError(
            f"{path}: byte 0: magic number 0x{expected.hex()} expected "
            f"({'images' if dimensions == _IMAGES else 'labels'} of unsigned bytes), found {found}"
        )
    start = _header_size(dimensions)
    if len(content) < start:
        raise DataFormatError(
            f"{path}: byte {len(content)}: the file ends within its head of {start} bytes"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    for axis, size in enumerate(shape):
        if not 0 < size < _LARGEST_ITEM_COUNT:
            raise DataFormatError(
                f"{path}: byte {4 + 4 * axis}: size {size} of dimension {axis} is not possible"
            )
    end = start
    items = 1
    for size in shape:
        items *= size
    end += items
    if len(content) < end:
        raise DataFormatError(
            f"{path}: byte {len(content)}: the file is truncated, {end} bytes expected for "
            f"{' x '.join(map(str, shape))} values"
        )
    if len(content) > end:
        raise DataFormatError(
            f"{path}: byte {end}: {len(content) - end} bytes too many after the "
            f"{' x '.join(map(str, shape))} values that the head announces"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _header_size(dimensions: int) -> int:
    return 4 + 4 * dimensions
