"""Obtaining and finding data sets, without network: routes are stood in for, or clients are."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from dataset_fakes import CONTENT, FakeRoute, left_behind
from digit_fixtures import write_fixture

from mtl_methods.errors import UnknownNameError
from trainables.datasets import data_root, find, list_datasets, obtain
from trainables.datasets.routes import (
    RouteError,
)
from trainables.errors import CorruptFileError, DataNotFoundError, DataObtainError


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
