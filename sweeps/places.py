"""Where a study file may let things be written beside the ledger: never outside the results folder.

A study file is data that may come from somebody else. Files it names lie in the results folder;
servers it names are reached without a password of its own, since the study is copied into results
and reports.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

__all__ = ["JOURNAL", "check_mirror", "check_server", "mirror_file"]

JOURNAL = "journal"
"""The mirror that is a file of Optuna's journal."""

_JOURNAL_NAME = "mirror.journal"
_SQLITE = re.compile(r"sqlite:///(?P<name>[A-Za-z0-9][A-Za-z0-9_-]{0,59}\.(db|sqlite|sqlite3))")
_DATABASES = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2", "mysql", "mysql+pymysql")
_LONGEST = 500


def check_mirror(value: Any) -> Any:
    """Checks what a study says of its mirror; for pydantic.

    Raises:
        ValueError: If it is no place that a study may name.
    """
    if value is None or value == JOURNAL:
        return value
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError(f"a mirror is {JOURNAL!r} or the URL of a database")
    if value.startswith("sqlite"):
        if not _SQLITE.fullmatch(value):
            raise ValueError(
                f"{value!r} is no file in the results folder; write sqlite:///NAME.db, a name "
                "without folders"
            )
        return value
    parts = _split(value)
    if parts.scheme not in _DATABASES:
        raise ValueError(
            f"{value!r} is no mirror; valid: {JOURNAL}, sqlite:///NAME.db, "
            f"{', '.join(f'{scheme}://USER@HOST/NAME' for scheme in _DATABASES)}"
        )
    _check_public(parts, "its usual place (PGPASSWORD, ~/.pgpass, ~/.my.cnf)")
    return value


def check_server(value: Any) -> Any:
    """Checks the address of a tracking server; for pydantic.

    Raises:
        ValueError: If it is no address that a study may name.
    """
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError("a tracking server is an address like https://HOST:PORT")
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(
            f"{value!r} is no tracking server; valid: http://HOST:PORT, https://HOST, or none for "
            "a file in the results folder"
        )
    _check_public(parts, "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
    return value


def mirror_file(mirror: str, results: Path) -> Path | None:
    """The file of a mirror in a results folder; ``None`` if it is a server."""
    if mirror == JOURNAL:
        return results / _JOURNAL_NAME
    found = _SQLITE.fullmatch(mirror)
    return None if found is None else results / found["name"]


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{value!r} is no address: {error}") from error
    return parts


def _check_public(parts: SplitResult, place: str) -> None:
    if parts.password is not None:
        raise ValueError(
            "a study is copied into its results, so that it may hold no password; give it in "
            f"{place}"
        )
    if parts.query or parts.fragment:
        raise ValueError("an address in a study takes no ?settings and no #fragment")
