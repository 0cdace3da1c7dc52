"""A mirror that is a file of ours: whether it is damaged, and moving it aside if it is.

A run that is killed while it writes can leave half a line in a journal, and the journal's lock. The
mirror is made from the ledger, so that a damaged one stops nothing: it is kept under another name.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

__all__ = ["is_damaged", "move_aside", "remove_stale_lock"]

_SQLITE_COMPANIONS = ("-journal", "-wal", "-shm")
# Optuna holds its lock for one append.
_STALE_SECONDS = 1.0


def is_damaged(path: Path, *, journal: bool) -> bool:
    """Whether the file of a mirror cannot be gone on with; one that is not there can.

    Args:
        path: The file.
        journal: Whether it is a journal; an SQLite database otherwise.

    Raises:
        OSError: If a journal cannot be looked at.
    """
    if not path.exists():
        return False
    if journal:
        if not path.is_file():
            return True
        return not _opens(path) or not _ends_with_a_line(path)
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5.0)) as database:
            return list(database.execute("PRAGMA quick_check(1)")) != [("ok",)]
    except sqlite3.OperationalError:  # locked, or the disk: not what it holds
        return path.is_dir()
    except sqlite3.DatabaseError:
        return True


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 1, 0))
        return file.read() in {b"", b"\n"}


def _opens(path: Path) -> bool:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        JournalStorage(JournalFileBackend(str(path))).get_all_studies()
    except OSError:
        raise
    except Exception:  # noqa: BLE001  (whatever a line of the wrong shape makes Optuna raise)
        return False
    return True


def move_aside(path: Path) -> Path:
    """Renames a file to ``NAME.damaged``, or ``NAME.damaged.2`` if that is there; returns it.

    Raises:
        OSError: If it cannot be renamed.
    """
    aside, number = path.with_name(f"{path.name}.damaged"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged.{number}")
    path.rename(aside)
    for suffix in _SQLITE_COMPANIONS:  # of a database: they must not be applied to a new one
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(aside.with_name(aside.name + suffix))
    return aside


def remove_stale_lock(path: Path) -> None:
    """Removes the lock that a killed run has left beside a journal.

    Only for who holds the results folder; a dashboard's lock is of this moment, and stays.
    """
    lock = path.with_name(f"{path.name}.lock")
    with contextlib.suppress(FileNotFoundError):
        if time.time() - lock.lstat().st_mtime > _STALE_SECONDS:
            lock.unlink()
