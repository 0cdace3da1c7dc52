from __future__ import annotations

import re
import struct

import numpy as np
import pytest

from trainables.datasets.idx import read_count, read_images, read_labels, read_pair, write_idx
from trainables.errors import DataFormatError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([7, 1], dtype=np.uint8)
GOOD = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 4) + IMAGES.tobytes()


def test_reads_the_format_byte_by_byte(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(GOOD)
    labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 1]))
    np.testing.assert_array_equal(read_images(images), IMAGES)
    np.testing.assert_array_equal(read_labels(labels), LABELS)
    assert read_count(images) == read_count(labels) == 2
    found = read_pair(images, labels)
    np.testing.assert_array_equal(found[0], IMAGES)
    np.testing.assert_array_equal(found[1], LABELS)


def test_writes_the_same_bytes(tmp_path):
    write_idx(tmp_path / "images", IMAGES)
    assert (tmp_path / "images").read_bytes() == GOOD


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"",
            "byte 0: magic number 0x00000803 expected (images of unsigned bytes), found an empty",
        ),
        (b"\0\0\x08\x01" + GOOD[4:], "byte 0: magic number 0x00000803 expected"),
        (b"\x1f\x8b\x08\x00" + GOOD[4:], "found 0x1f8b0800"),
        (GOOD[:10], "byte 10: the file ends within its head of 16 bytes"),
        (GOOD[:-5], "byte 35: the file is truncated, 40 bytes expected for 2 x 3 x 4 values"),
        (GOOD + b"abc", "byte 40: 3 bytes too many after the 2 x 3 x 4 values"),
        (GOOD[:8] + b"\0\0\0\0" + GOOD[12:], "byte 8: size 0 of dimension 1 is not possible"),
        (GOOD[:4] + b"\xff" * 4 + GOOD[8:], "byte 4: size 4294967295 of dimension 0"),
    ],
)
def test_bad_files_name_file_position_and_reason(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=f"^{re.escape(str(path))}: .*{re.escape(message)}"):
        read_images(path)


def test_counts_and_classes_must_fit(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    write_idx(images, IMAGES)
    write_idx(labels, np.array([1, 2, 3], dtype=np.uint8))
    with pytest.raises(DataFormatError, match="labels: byte 4: 3 labels do not fit the 2 images"):
        read_pair(images, labels)
    write_idx(labels, np.array([1, 10], dtype=np.uint8))
    with pytest.raises(DataFormatError, match="byte 9: label 10 of item 1 is none of the classes"):
        read_pair(images, labels)


def test_count_of_something_else(tmp_path):
    (tmp_path / "x").write_bytes(b"hello, world")
    with pytest.raises(DataFormatError, match="byte 0: not the head of an idx file"):
        read_count(tmp_path / "x")
