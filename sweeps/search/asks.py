"""What a search has asked its sampler for: one line per configuration, sealed, append-only.

The configurations of a search are written down before their first trial starts. Continuing a study
takes them from here, so that unfinished trials are resumed rather than replaced by others.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.definition.identity import seal_is_intact, sealed
from trainables.files import write_atomically

__all__ = ["AskLog"]

logger = logging.getLogger("sweeps")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]")


class AskLog:
    """The configurations that one search has asked for.

    Args:
        folder: The ``search`` folder of the results folder.
        variant: Whose search it is, for the file's name.
        identity: Digest of everything that determines the search, so that a changed search starts
            afresh beside the old one.
    """

    def __init__(self, folder: Path, variant: str, identity: str) -> None:
        self.path = folder / f"{_UNSAFE.sub('_', variant)}-{identity}.jsonl"
        self._clean = True

    def load(self) -> dict[int, dict[str, Any]]:
        """The points asked for, by number; damaged lines are left out."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return {}
        points: dict[int, dict[str, Any]] = {}
        lines = text.splitlines()
        for line in lines:
            entry = _entry(line)
            if entry is not None:
                points.setdefault(entry["number"], entry["point"])
        self._clean = len(points) == len(lines) and text.endswith("\n")
        if not self._clean:
            logger.warning("%s has damaged lines; what they asked for is asked again", self.path)
        return points

    def append(self, number: int, point: Mapping[str, Any]) -> None:
        """Adds a configuration; it is on disk when this returns."""
        if not self._clean:
            kept = self.load()
            lines = [_line(number, point) for number, point in sorted(kept.items())]
            write_atomically(self.path, "".join(lines).encode())
            self._clean = True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(number, point))
            file.flush()
            os.fsync(file.fileno())


def _line(number: int, point: Mapping[str, Any]) -> str:
    return json.dumps(sealed({"number": number, "point": dict(point)})) + "\n"


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not seal_is_intact(entry):
        return None
    if not isinstance(entry.get("number"), int) or not isinstance(entry.get("point"), dict):
        return None
    return entry
