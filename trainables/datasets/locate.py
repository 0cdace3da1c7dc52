"""Where data sets lie on this machine, and whether they are what they should be."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from trainables.datasets.catalogue import DataSet, dataset
from trainables.errors import CorruptFileError, DataNotFoundError

__all__ = ["DATA_DIR", "FIXTURE", "DataFolder", "data_root", "file_sha256", "find", "mark_fixture"]

DATA_DIR = "FAIRSWEEP_DATA_DIR"
"""The environment variable that names the folder of all data sets."""

FIXTURE = "FIXTURE.json"
"""The file that says: this folder holds made-up data in the true format, with its checksums."""


@dataclass(frozen=True)
class DataFolder:
    """A data set on this machine.

    Attributes:
        data: What it is.
        path: Its folder.
        checksums: The sha256 that each file must have.
        fixture: Whether it is a fixture: made-up data in the true file format.
    """

    data: DataSet
    path: Path
    checksums: Mapping[str, str]
    fixture: bool

    @property
    def identity(self) -> str:
        """What tells this content from any other: a digest of all checksums."""
        text = json.dumps([self.data.name, dict(self.checksums)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def verify(self) -> None:
        """Compares every file with its checksum.

        Raises:
            CorruptFileError: If one is another; names it and the command that gets it anew.
        """
        for name, expected in self.checksums.items():
            path = self.path / name
            try:
                found = file_sha256(path)
            except OSError as error:
                raise CorruptFileError(
                    f"{path}, a file of the data set {self.data.name}, cannot be read ({error})"
                ) from error
            if found != expected:
                raise CorruptFileError(
                    f"{path} is not the file of the data set {self.data.name} (sha256 {found}, "
                    f"expected {expected}); {_command(self.data, self.path.parent)} gets it anew"
                )


def data_root(data_dir: str | Path | None = None) -> Path:
    """The folder of all data sets.

    Args:
        data_dir: Given by the user; otherwise the environment variable :data:`DATA_DIR` decides,
            otherwise it is the user's data folder as the system has it.
    """
    given = str(data_dir or os.environ.get(DATA_DIR) or "")
    return Path(given or platformdirs.user_data_dir("fairsweep", appauthor=False)).expanduser()


def find(name: str, data_dir: str | Path | None = None) -> DataFolder:
    """Finds a data set; its files are there, their content is not verified.

    Raises:
        DataNotFoundError: If a file is missing; one sentence with the place and the command that
            gets the data set. Also if the folder cannot be read.
        CorruptFileError: If the marker of a fixture cannot be read.
    """
    data = dataset(name)
    root = data_root(data_dir)
    folder = root / name
    checksums = {file.name: file.sha256 for file in data.files}
    try:
        fixture = (folder / FIXTURE).is_file()
        if fixture:
            checksums = _fixture_checksums(folder, data)
        missing = [file for file in checksums if not (folder / file).is_file()]
    except OSError as error:
        raise DataNotFoundError(
            f"the data set {name} is not to be seen: looked in {folder}, which cannot be read "
            f"({error}); give read access to it or choose another data folder"
        ) from error
    if missing:
        what = "is not there" if len(missing) == len(checksums) else "lacks " + ", ".join(missing)
        raise DataNotFoundError(
            f"the data set {name} {what}: looked in {folder}; {_command(data, root)} gets it"
        )
    return DataFolder(data, folder, checksums, fixture)


def mark_fixture(folder: Path) -> None:
    """Declares the files of a data set's folder to be a fixture, with the content they have now."""
    names = [file.name for file in dataset(folder.name).files]
    files = {name: file_sha256(folder / name) for name in names}
    (folder / FIXTURE).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")


def file_sha256(path: Path) -> str:
    """The checksum of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fixture_checksums(folder: Path, data: DataSet) -> dict[str, str]:
    try:
        files = json.loads((folder / FIXTURE).read_text(encoding="utf-8"))["files"]
        return {file.name: str(files[file.name]) for file in data.files}
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f"{folder / FIXTURE} does not name the sha256 of every file ({error!r})"
        ) from error


def _command(data: DataSet, root: Path) -> str:
    command = f"fairsweep data get {data.name}"
    if root != data_root():
        command += f" --data-dir {shlex.quote(str(root))}"
    return f"`{command}`"
