"""Obtaining a data set: all of it, verified, or nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.datasets.catalogue import DataSet, dataset
from trainables.datasets.locate import FIXTURE, data_root, file_sha256
from trainables.datasets.routes import Route, RouteError
from trainables.datasets.work_folders import work_folder
from trainables.errors import DataObtainError

__all__ = ["Obtained", "obtain"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Obtained:
    """A data set that is there now.

    Attributes:
        path: Its folder.
        route: How it came, ``None`` if it was there already.
    """

    path: Path
    route: str | None


def obtain(
    name: str, data_dir: str | Path | None = None, *, routes: Sequence[Route] | None = None
) -> Obtained:
    """Obtains a data set by the first route that leads to it.

    Files are fetched into a folder of their own beside the final one, verified, and that folder is
    renamed: whatever interrupts this, there is either no data set or a whole one. A folder that is
    there but holds other content is kept under another name.

    Args:
        name: The data set.
        data_dir: The folder of all data sets; see :func:`trainables.datasets.locate.data_root`.
        routes: The routes to try; those of the catalogue by default.

    Raises:
        UnknownNameError: If there is no such data set.
        DataObtainError: If no route leads to it, saying why for each; or the folder holds a
            fixture; or it cannot be written.
    """
    data = dataset(name)
    root = data_root(data_dir)
    target = root / name
    try:
        if (target / FIXTURE).exists():
            raise DataObtainError(
                f"{target} holds a fixture (made-up data); remove it or choose another data folder"
            )
        if _flaw(data, target) is None:
            return Obtained(target, None)
    except OSError as error:
        raise DataObtainError(f"the data folder {root} cannot be read ({error})") from error
    with contextlib.ExitStack() as stack:
        try:
            work = stack.enter_context(work_folder(root, name))
        except OSError as error:
            raise DataObtainError(f"the data folder {root} cannot be written ({error})") from error
        try:
            route, folder = _fetch(data, data.routes if routes is None else routes, work)
            _install(data, folder, target)
        except OSError as error:
            raise DataObtainError(f"the data set {name} cannot be written ({error})") from error
    return Obtained(target, route.description)


def _fetch(data: DataSet, routes: Sequence[Route], work: Path) -> tuple[Route, Path]:
    """The files, verified, in a folder of their own, by the first route that leads to them."""
    reasons = []
    for index, route in enumerate(routes):
        folder = work / str(index)
        folder.mkdir()
        logger.info("obtaining %s: %s", data.name, route.description)
        try:
            route.fetch([file.name for file in data.files], folder)
        except RouteError as error:
            reasons.append(f"{route.description}: {error}")
            continue
        flaw = _flaw(data, folder)
        if flaw is None:
            return route, folder
        reasons.append(f"{route.description}: {flaw}")
    raise DataObtainError(
        f"the data set {data.name} could not be obtained, nothing was changed; "
        + "; ".join(reasons or ["no route is known"])
    )


def _flaw(data: DataSet, folder: Path) -> str | None:
    """What is wrong with the content of a folder, ``None`` if it is the data set."""
    for file in data.files:
        path = folder / file.name
        if not path.is_file():
            return f"{file.name} is missing"
        size = path.stat().st_size
        if size != file.size:
            return f"{file.name} has {size} bytes, expected {file.size}"
        found = file_sha256(path)
        if found != file.sha256:
            return f"{file.name} has sha256 {found}, expected {file.sha256}"
    return None


def _install(data: DataSet, folder: Path, target: Path) -> None:
    # Folders made by mkdtemp are private; a shared data folder needs the usual permissions.
    folder.chmod(0o755)
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if target.exists() and _flaw(data, target) is not None:
        kept = Path(tempfile.mkdtemp(prefix=f"{data.name}.replaced.", dir=target.parent))
        try:
            target.rename(kept / data.name)
            logger.warning("%s held other content, which is now %s", target, kept / data.name)
        except FileNotFoundError:  # another process has moved it meanwhile
            kept.rmdir()
    try:
        folder.rename(target)
    except OSError:
        # Another process was faster; its content is as good if it is the same.
        if _flaw(data, target) is not None:
            raise
