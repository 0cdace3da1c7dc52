"""`fairsweep report` on folders whose ledger says everything, something, or nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from sweeps_fakes import execute, make_plan, resolved_study

from sweeps.errors import ResultsFolderError
from sweeps.folder.rebuild import rebuild
from sweeps.folder.results import ResultsFolder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("rebuild") / "r"
    with ResultsFolder(results, resolved_study()):
        execute(make_plan(resolved_study(), results), results)
    rebuild(results)
    return results


@pytest.fixture
def copy(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def quick(folder: Path, notes: object, margin: object) -> Path:
        (folder / "notes.json").write_text(json.dumps(list(notes)))  # type: ignore[call-overload]
        return folder / "report.html"

    monkeypatch.setattr("sweeps.folder.rebuild.write_report", quick)
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def rows(folder: Path) -> int:
    return len(pd.read_parquet(folder / "trials.parquet"))


def test_a_folder_copied_without_its_ledger_keeps_its_tables(copy: Path) -> None:
    before = rows(copy)
    assert before > 0
    shutil.rmtree(copy / "ledger")
    assert rebuild(copy).notes == ()
    assert rows(copy) == before


def test_a_truncated_table_is_written_anew_and_named(copy: Path) -> None:
    before = rows(copy)
    table = copy / "trials.parquet"
    table.write_bytes(table.read_bytes()[:200])
    (note,) = rebuild(copy).notes
    assert "trials.parquet could not be read and was written anew from the ledger" in note
    assert rows(copy) == before
    assert json.loads((copy / "notes.json").read_text()) == [note]


def test_damaged_records_are_named(copy: Path) -> None:
    record = next((copy / "ledger").glob("*.json"))
    record.write_text("{")
    (note,) = rebuild(copy).notes
    assert "1 damaged records" in note
    assert record.name in note


@pytest.mark.parametrize("damage", ["version", "study"])
def test_tables_of_a_folder_that_cannot_be_planned_are_shown_as_they_are(
    copy: Path, damage: str
) -> None:
    before = rows(copy)
    if damage == "version":
        manifest = json.loads((copy / "manifest.json").read_text())
        (copy / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    else:
        (copy / "study.yaml").write_text("methods: [nothing_known]\n")
    (note,) = rebuild(copy).notes
    assert "are shown as they are" in note
    assert rows(copy) == before


def test_nothing_to_show_is_an_error(copy: Path) -> None:
    for name in ("trials.parquet", "epochs.parquet"):
        (copy / name).unlink()
    (copy / "study.yaml").write_text("methods: [nothing_known]\n")
    with pytest.raises(ResultsFolderError):
        rebuild(copy)
