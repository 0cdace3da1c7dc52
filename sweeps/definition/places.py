"""What a study file may name and write: never anything outside the results folder.

A study file is data that may come from somebody else. Files it names lie in the results folder;
servers it names are reached without a password of its own, since the study is copied into results
and reports.
"""

from __future__ import annotations

import math
import re
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

__all__ = ["JOURNAL", "check_label", "check_mirror", "check_server", "is_finite", "mirror_file"]

JOURNAL = "journal"
"""The mirror that is a file of Optuna's journal."""

_JOURNAL_NAME = "mirror.journal"
_SQLITE = re.compile(r"sqlite:///(?P<name>[A-Za-z0-9][A-Za-z0-9_-]{0,59}\.(db|sqlite|sqlite3))")
_DATABASES = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2", "mysql", "mysql+pymysql")
_LONGEST, _LONGEST_LABEL = 500, 64


def check_label(value: str | None) -> str | None:
    """Checks a label, which becomes a part of file names, tables, terminals and pages.

    Raises:
        ValueError: If it could be taken for something else: a path, a command to a terminal, or,
            by another spelling of the same letters, another label.
    """
    if value is None:
        return None
    plain = unicodedata.is_normalized("NFKC", value)
    if not (1 <= len(value) <= _LONGEST_LABEL and value.isprintable() and plain) or (
        any(c in "/\\" or c.isspace() for c in value)
    ):
        short = value if len(value) <= _LONGEST_LABEL else value[:_LONGEST_LABEL] + "..."
        raise ValueError(
            f"{short!r} is not valid; it should be at most {_LONGEST_LABEL} printable characters "
            "in their usual form, without spaces and slashes"
        )
    return value


def is_finite(number: float) -> bool:
    """Whether a number is finite as a float, which a whole number of 400 digits is not."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


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
