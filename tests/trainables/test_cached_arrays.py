"""Processed arrays: made once, mapped, noticed when damaged."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from dataset_fakes import left_behind

from trainables.datasets.arrays import cached_splits


def splits_of(value):
    return {s: {"x": np.full((3, 2), value, np.uint8)} for s in ("train", "validation", "test")}


def test_arrays_are_made_once_and_mapped(tmp_path):
    made = []
    first = cached_splits(tmp_path, "key", lambda: made.append(1) or splits_of(1))
    again = cached_splits(tmp_path, "key", lambda: made.append(2) or splits_of(2))
    other = cached_splits(tmp_path, "other", lambda: splits_of(3))
    assert made == [1]
    for splits, value in ((first, 1), (again, 1), (other, 3)):
        assert set(splits) == {"train", "validation", "test"}
        assert type(splits["train"]["x"]) is np.ndarray
        assert isinstance(splits["train"]["x"].base, np.memmap)
        assert not splits["train"]["x"].flags.writeable
        assert (splits["train"]["x"] == value).all()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", None])
def test_a_damaged_array_is_made_again(tmp_path, content, caplog):
    cached_splits(tmp_path, "key", lambda: splits_of(1))
    (file,) = tmp_path.glob("cache/*/train/x.npy")
    if content is None:
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.write_bytes(content)
    splits = cached_splits(tmp_path, "key", lambda: splits_of(2))
    assert (splits["train"]["x"] == 2).all()
    assert "is made again" in caplog.text


@pytest.mark.parametrize("lost", ["*/train/x.npy", "*/test", "*/arrays.json"])
def test_arrays_of_which_some_are_lost_are_made_again(tmp_path, lost, caplog):
    def both(value):
        return {split: {**a, "y": a["x"]} for split, a in splits_of(value).items()}

    cached_splits(tmp_path, "key", lambda: both(1))
    (path,) = tmp_path.glob(f"cache/{lost}")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    splits = cached_splits(tmp_path, "key", lambda: both(2))
    assert {split: set(arrays) for split, arrays in splits.items()} == {
        split: {"x", "y"} for split in ("train", "validation", "test")
    }
    assert (splits["train"]["x"] == 2).all()
    assert "is made again" in caplog.text


@pytest.mark.parametrize("content", ["[]", "{", '{"train": 3}', '["train"]'])
def test_a_damaged_list_of_arrays(tmp_path, content):
    cached_splits(tmp_path, "key", lambda: splits_of(1))
    (path,) = tmp_path.glob("cache/*/arrays.json")
    path.write_text(content)
    assert (cached_splits(tmp_path, "key", lambda: splits_of(2))["test"]["x"] == 2).all()


def test_what_a_killed_making_left_is_removed_a_day_later(tmp_path):
    cached_splits(tmp_path, "key", lambda: splits_of(1))
    (folder,) = (tmp_path / "cache").iterdir()
    old, new = (folder.parent / f".{folder.name}.{age}.part" for age in ("old", "new"))
    for part in (old, new):
        (part / "train").mkdir(parents=True)
    os.utime(old, (0, 0))
    shutil.rmtree(folder)
    cached_splits(tmp_path, "key", lambda: splits_of(1))
    assert left_behind(folder.parent) == [new.name, folder.name]


def test_arrays_of_an_interrupted_making_are_not_kept(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_splits(tmp_path, "key", interrupted)
    assert (cached_splits(tmp_path, "key", lambda: splits_of(2))["test"]["x"] == 2).all()
    assert not list(tmp_path.glob("cache/.*"))


def test_where_nothing_can_be_written_arrays_stay_in_memory(tmp_path, caplog):
    (tmp_path / "cache").write_text("in the way")
    splits = cached_splits(tmp_path, "key", lambda: splits_of(2))
    assert (splits["train"]["x"] == 2).all()
    assert "are not kept" in caplog.text
