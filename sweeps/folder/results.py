"""The results folder: who owns it, who is writing to it, and what describes it.

======================  ===========================================================================
``study.yaml``          the study as run, every default written out
``manifest.json``       versions, hardware, problem, methods (:mod:`sweeps.folder.manifest`)
``ledger/``             one file for each trial that ended: the record of truth
``search/``             what each search asked its sampler for
``checkpoints/``        where unfinished trials continue; the best epochs that are kept
``running/``            signs of life of the trials that run (:mod:`trainables.heartbeat`)
``run.json``            where the last run runs or ran (:mod:`sweeps.folder.liveness`)
``stop``                asks the run to stop (:mod:`sweeps.running.stop_file`)
``trials.parquet``      one row for each trial that ended (:mod:`sweeps.folder.tables`)
``epochs.parquet``      one row for each of their epochs
``flatness.csv``        from ``fairsweep flatness`` (:mod:`sweeps.commands.flatness_table`)
``fairsweep.log``       what happened, line by line; Ray's own messages are in ``ray.log``
======================  ===========================================================================
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from sweeps.definition.resolve import resolve
from sweeps.definition.resolved import ResolvedStudy
from sweeps.definition.study_file import parse_study, read_yaml
from sweeps.errors import ResultsFolderError, StudyError
from sweeps.folder.ledger import Ledger
from sweeps.folder.liveness import LOCK
from sweeps.folder.manifest import make_manifest
from sweeps.folder.mirror_file import move_aside
from trainables.files import write_atomically

__all__ = ["DamagedManifestError", "ResultsFolder", "check_owner", "stored_study"]

logger = logging.getLogger("sweeps")

# How often a lock is tried: somebody may only be looking whether there is one.
_LOCK_ATTEMPTS, _LOCK_PAUSE_S = 5, 0.1
# What may lie in a folder that is not ours yet.
_HARMLESS = {LOCK, ".gitignore", ".DS_Store", "fairsweep.log", "ray.log"}


_MADE_ANEW = "run the study again: it is made anew, nothing finished is lost"


class DamagedManifestError(ResultsFolderError):
    """The manifest is there and is no JSON object."""


class ResultsFolder:
    """The results folder of a study, locked for writing; use it as a context.

    Args:
        path: Where it is or shall be.
        resolved: The study that it belongs to or shall belong to.

    Raises:
        ResultsFolderError: On entering, if it cannot be written, is being written by another run,
            holds something else, or belongs to another study.
    """

    def __init__(self, path: Path, resolved: ResolvedStudy) -> None:
        self.path = path.expanduser().absolute()
        self.resolved = resolved
        self.changed = False
        self._lock: IO[str] | None = None

    @property
    def ledger(self) -> Path:
        """The folder of the ledger."""
        return self.path / "ledger"

    @property
    def search(self) -> Path:
        """The folder of what searches asked for."""
        return self.path / "search"

    @property
    def log(self) -> Path:
        """The log file."""
        return self.path / "fairsweep.log"

    def __enter__(self) -> ResultsFolder:
        self._make()
        self._lock = _locked(self.path)
        try:
            manifest = check_owner(self.path, self.resolved)
            self._describe(manifest)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # A folder can exist and refuse files (read-only, full): try one.
            with tempfile.NamedTemporaryFile(dir=self.path, prefix=".probe-") as probe:
                probe.write(b"fairsweep")
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise ResultsFolderError(
                f"results folder {self.path} cannot be written ({error.strerror or error}); "
                "give another with --results"
            ) from error

    def _describe(self, earlier: dict[str, Any] | None) -> None:
        """Writes what describes the study; an interrupted write leaves the old description."""
        self.changed = earlier is not None and earlier.get("study_hash") != self.resolved.study_hash
        manifest = make_manifest(self.resolved, earlier)
        try:
            self._put_damaged_manifest_aside()
            for folder in (self.ledger, self.search, self.path / "checkpoints"):
                folder.mkdir(exist_ok=True)
            self.write("study.yaml", yaml.safe_dump(self.resolved.as_run, sort_keys=False))
            self.write("manifest.json", json.dumps(manifest, indent=1) + "\n")
        except OSError as error:
            raise ResultsFolderError(
                f"results folder {self.path} cannot be written ({error.strerror or error})"
            ) from error

    def _put_damaged_manifest_aside(self) -> None:
        try:
            read_manifest(self.path)
        except DamagedManifestError:
            aside = move_aside(self.path / "manifest.json")
            logger.warning(
                "the manifest of %s is damaged; it was moved to %s and is made anew",
                self.path,
                aside.name,
            )

    def add_notices(self, notices: Sequence[str]) -> None:
        """Writes into the manifest what did not go as the study asks, a sentence each."""
        manifest = {**(read_manifest(self.path) or {}), "notices": list(notices)}
        self.write("manifest.json", json.dumps(manifest, indent=1) + "\n")

    def write(self, name: str, text: str) -> None:
        """Writes a file of the folder, completely or not at all."""
        write_atomically(self.path / name, text.encode("utf-8"))


def check_owner(path: Path, resolved: ResolvedStudy) -> dict[str, Any] | None:
    """Checks that a place is free for the results of a study, or has results of it already.

    Args:
        path: The results folder, which need not be there.
        resolved: The study.

    Returns:
        The manifest of an earlier run.

    Raises:
        ResultsFolderError: If it is no folder, holds something else, or belongs to another study.
    """
    try:
        there = next(place for place in (path, *path.parents) if place.exists())
        if not there.is_dir():
            raise ResultsFolderError(
                f"results folder {path} cannot be: {there} is a file; give another with --results"
            )
        if there != path:
            return None
        try:
            manifest = read_manifest(path)
        except DamagedManifestError:
            manifest = _manifest_anew(path)
            if manifest is None:
                raise
        if manifest is None:
            manifest = _manifest_anew(path)
        if manifest is None:
            others = sorted(p.name for p in path.iterdir() if p.name not in _HARMLESS)
            if others:
                raise ResultsFolderError(
                    f"results folder {path} holds other files ({others[0]}) and no results "
                    "of fairsweep; give an empty or new one with --results"
                )
            return None
    except OSError as error:
        raise ResultsFolderError(
            f"results folder {path} cannot be read ({error.strerror or error}); give another with "
            "--results"
        ) from error
    mine, theirs = _owner(resolved), _owner_of(manifest)
    if mine != theirs:
        raise ResultsFolderError(
            f"results folder {path} belongs to the study {_describe_owner(theirs)}, not "
            f"to {_describe_owner(mine)}; give another with --results"
        )
    return manifest


def _manifest_anew(path: Path) -> dict[str, Any] | None:
    """The manifest of a folder that has lost it, from its study; ``None`` without our records."""
    if not (path / "study.yaml").is_file() or not Ledger(path / "ledger").load().records():
        return None
    return make_manifest(_study_of(path), None)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a results folder; ``None`` if there is none.

    Raises:
        ResultsFolderError: If it is not readable.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ResultsFolderError(f"{path / 'manifest.json'} cannot be read ({error})") from error
    except (ValueError, RecursionError) as error:
        raise DamagedManifestError(
            f"{path / 'manifest.json'} cannot be read, it is damaged; {_MADE_ANEW}"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != 1:
        raise ResultsFolderError(
            f"{path / 'manifest.json'} is not of format 1; another version of fairsweep wrote it"
        )
    return manifest


def stored_study(path: Path) -> ResolvedStudy:
    """The study of a results folder, as it was run.

    Raises:
        ResultsFolderError: If the folder is none of fairsweep's or its study is damaged.
    """
    if not path.is_dir():
        raise ResultsFolderError(f"there is no results folder {path}")
    if read_manifest(path) is None:
        if (path / "ledger").is_dir() and (path / "study.yaml").is_file():
            raise ResultsFolderError(f"{path} has lost its manifest.json; {_MADE_ANEW}")
        raise ResultsFolderError(f"{path} has no manifest.json, so it is no results folder")
    return _study_of(path)


def _study_of(path: Path) -> ResolvedStudy:
    try:
        return resolve(parse_study(read_yaml(path / "study.yaml")))
    except StudyError as error:
        raise ResultsFolderError(f"{path / 'study.yaml'}: {error}") from error


def _owner(resolved: ResolvedStudy) -> dict[str, Any]:
    problem = resolved.problem
    return {"study": resolved.study.name, "problem": problem.name, "options": problem.settings()}


def _owner_of(manifest: dict[str, Any]) -> dict[str, Any]:
    problem = manifest.get("problem") or {}
    return {
        "study": manifest.get("study"),
        "problem": problem.get("name"),
        "options": problem.get("options"),
    }


def _describe_owner(owner: dict[str, Any]) -> str:
    options = ", ".join(f"{key}: {value}" for key, value in (owner["options"] or {}).items())
    return f"{owner['study']!r} on {owner['problem']} ({options})"


def _locked(path: Path) -> IO[str]:
    """Locks the folder for this process; the system releases the lock when the process ends."""
    file = (path / LOCK).open("a+", encoding="utf-8")
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if attempt < _LOCK_ATTEMPTS - 1:
                time.sleep(_LOCK_PAUSE_S)
                continue
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise ResultsFolderError(
                f"another run is writing to results folder {path}"
                + (f" ({holder})" if holder else "")
                + "; wait for it, stop it with 'fairsweep stop', or give another folder with "
                "--results"
            ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file
