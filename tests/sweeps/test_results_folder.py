"""The results folder: whose it is, who writes to it, and what describes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sweeps_fakes import execute, make_plan, resolved_study

from sweeps.definition.resolve import resolve
from sweeps.definition.study_file import parse_study
from sweeps.errors import ResultsFolderError
from sweeps.folder.results import ResultsFolder, stored_study


def test_a_new_folder_is_described_before_any_trial(tmp_path: Path) -> None:
    study = resolved_study()
    with ResultsFolder(tmp_path / "deep" / "er", study) as folder:
        manifest = json.loads((folder.path / "manifest.json").read_text(encoding="utf-8"))
        written = yaml.safe_load((folder.path / "study.yaml").read_text(encoding="utf-8"))
    assert resolve(parse_study(written)).study_hash == study.study_hash == manifest["study_hash"]
    assert manifest["format"] == 1
    assert [task["name"] for task in manifest["problem"]["tasks"]] == ["CL", "RR"]
    assert manifest["problem"]["tasks"][1]["metrics"][0]["higher_is_better"] is False
    assert set(manifest["methods"]) == {"ls", "uw", "fairgrad"}
    assert {"torch", "ray", "optuna", "python"} <= set(manifest["versions"])
    assert manifest["hardware"]["cpus"] >= 1
    assert manifest["budgets"]["trials"] == 3
    assert manifest["fixture"] is False


def test_the_same_study_is_welcome_again(tmp_path: Path) -> None:
    with ResultsFolder(tmp_path / "r", resolved_study()):
        pass
    created = json.loads((tmp_path / "r" / "manifest.json").read_text(encoding="utf-8"))["created"]
    with ResultsFolder(tmp_path / "r", resolved_study()) as folder:
        assert not folder.changed
    again = json.loads((tmp_path / "r" / "manifest.json").read_text(encoding="utf-8"))
    assert again["created"] == created


def test_a_changed_study_of_the_same_name_and_problem_continues(tmp_path: Path) -> None:
    with ResultsFolder(tmp_path / "r", resolved_study()):
        pass
    with ResultsFolder(tmp_path / "r", resolved_study(seed=5)) as folder:
        assert folder.changed


@pytest.mark.parametrize(
    "other",
    [{"name": "other"}, {"problem": {"name": "multi_digits", "tasks": "CR_RL"}}],
)
def test_another_study_is_refused_and_nothing_is_touched(
    other: dict[str, object], tmp_path: Path
) -> None:
    with ResultsFolder(tmp_path / "r", resolved_study()):
        pass
    before = {path: path.read_bytes() for path in (tmp_path / "r").glob("*.*")}
    with (
        pytest.raises(ResultsFolderError, match="belongs to the study 'tiny' on multi_digits"),
        ResultsFolder(tmp_path / "r", resolved_study(**other)),
    ):
        pass
    assert {path: path.read_bytes() for path in (tmp_path / "r").glob("*.*")} == before


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious", encoding="utf-8")
    with (
        pytest.raises(ResultsFolderError, match=r"holds other files \(thesis.tex\)"),
        ResultsFolder(tmp_path, resolved_study()),
    ):
        pass


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with (
        pytest.raises(ResultsFolderError, match="cannot be written"),
        ResultsFolder(tmp_path / "file", resolved_study()),
    ):
        pass


def test_a_folder_that_takes_no_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    def refuse(**options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    with (
        pytest.raises(ResultsFolderError, match=r"No space left on device.*--results"),
        ResultsFolder(tmp_path / "r", resolved_study()),
    ):
        pass


def test_a_damaged_manifest_is_said(tmp_path: Path) -> None:
    with ResultsFolder(tmp_path / "r", resolved_study()):
        pass
    (tmp_path / "r" / "manifest.json").write_text("{", encoding="utf-8")
    with (
        pytest.raises(ResultsFolderError, match=r"manifest\.json cannot be read"),
        ResultsFolder(tmp_path / "r", resolved_study()),
    ):
        pass


def test_two_runs_at_once_are_refused_and_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with ResultsFolder(path, resolved_study()):
        pass
    code = (
        "import fcntl, sys, time\n"
        f"f = open({str(path / '.lock')!r}, 'a+')\n"
        "fcntl.flock(f, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(ResultsFolderError, match="another run is writing"),
            ResultsFolder(path, resolved_study()),
        ):
            pass
    finally:
        other.kill()
        other.wait()
    with ResultsFolder(path, resolved_study()):
        pass


def test_the_study_of_a_folder_can_be_had_back(tmp_path: Path) -> None:
    study = resolved_study()
    with ResultsFolder(tmp_path / "r", study):
        pass
    assert stored_study(tmp_path / "r").study_hash == study.study_hash


def test_what_is_no_results_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResultsFolderError, match="there is no results folder"):
        stored_study(tmp_path / "nothing")
    with pytest.raises(ResultsFolderError, match=r"no manifest\.json"):
        stored_study(tmp_path)


@pytest.mark.parametrize("lost", [False, True])
def test_a_folder_goes_on_without_its_manifest(lost: bool, tmp_path: Path) -> None:
    study, results = resolved_study(), tmp_path / "r"
    with ResultsFolder(results, study):
        execute(make_plan(study, results), results, limit=5)
    manifest = results / "manifest.json"
    whole = manifest.read_bytes()
    manifest.unlink() if lost else manifest.write_bytes(whole[:100])
    with pytest.raises(ResultsFolderError, match="run the study again: it is made anew"):
        stored_study(results)
    with ResultsFolder(results, study) as folder:
        assert not folder.changed
    assert json.loads(manifest.read_bytes())["study_hash"] == study.study_hash
    aside = results / "manifest.json.damaged"
    assert aside.exists() is not lost
    if not lost:
        assert aside.read_bytes() == whole[:100]
