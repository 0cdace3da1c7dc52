"""Folders in which something is made before it is renamed into its place."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["work_folder"]

_FORGOTTEN_SECONDS = 86400


@contextlib.contextmanager
def work_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder beside the place of ``name``, removed in the end unless it was renamed.

    What a killed process left there is removed a day later, by the next that makes ``name``.

    Args:
        parent: The folder in which ``name`` is to lie; made if it is not there.
        name: What is made.

    Raises:
        OSError: If the folder cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for part in parent.glob(f".{name}.*.part"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - part.stat().st_mtime > _FORGOTTEN_SECONDS:
                shutil.rmtree(part, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".part", dir=parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
