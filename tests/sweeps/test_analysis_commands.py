"""The commands ``fairsweep audit`` and ``fairsweep compare``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import sweeps.commands.cli

Command = Callable[..., tuple[int, str, str]]
PAPERS = Path(__file__).parents[1] / "data" / "papers"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def fairsweep(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fairsweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            sweeps.commands.cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return fairsweep


def test_the_misprints_of_a_published_table_are_named(command: Command, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    code, out, _ = command("audit", PAPERS / "paper_nyuv2.csv", "--csv", rows)
    assert code == 0
    assert "IMTL-G: printed -0.76" in out
    assert "cannot be right" in out
    assert "4 of the printed values cannot be right" in out
    assert set(pd.read_csv(rows)["aggregate"]) >= {"delta_m_pct", "MR"}


def test_no_name_in_a_table_commands_the_terminal(command: Command, tmp_path: Path) -> None:
    text = (PAPERS / "paper_nyuv2.csv").read_text(encoding="utf-8")
    table = tmp_path / "table.csv"
    table.write_text(text.replace("IMTL-G", "\x1b]0;owned\x07IMTL-G"), encoding="utf-8")
    code, out, _ = command("audit", table)
    assert code == 0
    assert "\\x1b]0;owned\\x07IMTL-G: printed -0.76" in out
    assert "\x1b" not in out


def test_a_missing_table_is_one_sentence(command: Command, tmp_path: Path) -> None:
    code, _, err = command("audit", tmp_path / "none.csv")
    assert code == 2
    assert err.count("\n") == 1
    assert "none.csv" in err


def test_comparing_needs_results_folders(command: Command, tmp_path: Path) -> None:
    code, _, err = command("compare", tmp_path, "--output", tmp_path / "out")
    assert code == 2
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
