"""Processed arrays, kept once per machine as files that are mapped into memory."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trainables.datasets.work_folders import work_folder
from trainables.problem import Splits

__all__ = ["cached_arrays", "cached_splits"]

logger = logging.getLogger(__name__)

Array: TypeAlias = npt.NDArray[Any]
_WHOLE = "whole"
_NAMES = "arrays.json"
_UNREADABLE = (OSError, ValueError, EOFError, TypeError, AttributeError)


def cached_splits(root: Path, key: str, build: Callable[[], Splits]) -> Splits:
    """The arrays of a problem: mapped from files, made first if these are not there.

    The files of a key lie in one folder, which is renamed into place when it is whole. All
    processes that map them share the memory of the system's page cache. Arrays that cannot be read
    are made again; where nothing can be written, the arrays are used from memory, with a warning.

    Args:
        root: The folder of all data sets; the arrays lie in its folder ``cache``.
        key: All that the arrays depend on, the content of the raw files included.
        build: Makes them.

    Returns:
        Read-only arrays by name, by split.
    """
    return _cached(root, key, build)


def cached_arrays(
    root: Path, key: str, build: Callable[[], Mapping[str, Array]]
) -> Mapping[str, Array]:
    """As :func:`cached_splits`, for arrays that are not split yet.

    Args:
        root: The folder of all data sets.
        key: All that the arrays depend on.
        build: Makes them.

    Returns:
        Read-only arrays by name.
    """
    return _cached(root, key, lambda: {_WHOLE: build()})[_WHOLE]


def _cached(root: Path, key: str, build: Callable[[], Splits]) -> Splits:
    folder = root / "cache" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if folder.is_dir():
        try:
            return _open(folder)
        except _UNREADABLE as error:
            logger.warning("%s cannot be read and is made again (%s)", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    arrays = build()
    try:
        _write(folder, key, arrays)
        return _open(folder)
    except _UNREADABLE as error:
        logger.warning("processed arrays are not kept in %s (%s)", folder, error)
        return arrays


def _open(folder: Path) -> Splits:
    names = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
    return {
        group: {
            # Plain arrays over the mapped memory: Ray and torch take these as any other.
            name: np.asarray(
                np.load(folder / group / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            )
            for name in arrays
        }
        for group, arrays in names.items()
    }


def _write(folder: Path, key: str, groups: Splits) -> None:
    with work_folder(folder.parent, folder.name) as work:
        for group, arrays in groups.items():
            (work / group).mkdir()
            for name, array in arrays.items():
                np.save(work / group / f"{name}.npy", array, allow_pickle=False)
        names = {group: sorted(arrays) for group, arrays in groups.items()}
        (work / _NAMES).write_text(json.dumps(names), encoding="utf-8")
        (work / "key.txt").write_text(key, encoding="utf-8")
        work.chmod(0o755)
        try:
            work.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same content
                raise
