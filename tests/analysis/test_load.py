"""Loading a results folder: what is read, and every way in which a folder can be bad."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from synthetic_folder import Plan, write_folder

from analysis import AnalysisError, load
from analysis.results import Results


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_reads_tables_metrics_and_labels(results: Results) -> None:
    assert results.tasks == ("CL", "RR")
    assert [m.column("test") for m in results.metrics] == ["test.CL.accuracy", "test.RR.mse"]
    assert [m.higher_is_better for m in results.metrics] == [True, False]
    assert results.label("fairgrad") == "FairGrad"
    assert results.label("fixed(fairgrad)") == "fixed(FairGrad)"
    assert results.problems == ()
    kept = len(results.finished) + len(results.diverged) + len(results.failed)
    assert kept == len(results.trials)


def rewrite(path: Path, change) -> None:
    change(pd.read_parquet(path)).to_parquet(path)


def manifest(path: Path, **changes: object) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.head(2)])


BAD = {
    "no manifest": (lambda d: (d / "manifest.json").unlink(), "has no manifest.json"),
    "broken manifest": (lambda d: half(d / "manifest.json"), "is not valid JSON"),
    "other version": (
        lambda d: manifest(d, format=7),
        "has format 7 .*this version reads format 1",
    ),
    "no tasks": (lambda d: manifest(d, problem={}), "does not describe the problem's tasks"),
    "no trials": (lambda d: (d / "trials.parquet").unlink(), "trials.parquet is missing"),
    "truncated trials": (lambda d: half(d / "trials.parquet"), "trials.parquet is truncated"),
    "truncated epochs": (lambda d: half(d / "epochs.parquet"), "epochs.parquet is truncated"),
    "missing column": (
        lambda d: rewrite(d / "trials.parquet", lambda t: t.drop(columns=["seed"])),
        "trials.parquet lacks the column seed",
    ),
    "missing metric": (
        lambda d: rewrite(d / "trials.parquet", lambda t: t.drop(columns=["test.RR.mse"])),
        "lacks the column test.RR.mse",
    ),
    "duplicates": (lambda d: rewrite(d / "trials.parquet", twice), "holds 2 trials more than once"),
    "duplicated epochs": (
        lambda d: rewrite(d / "epochs.parquet", twice),
        "holds epochs of 1 trial more than once",
    ),
    "status": (
        lambda d: rewrite(d / "trials.parquet", lambda t: t.assign(status="done")),
        "trials of status done; valid: finished, diverged, failed",
    ),
    "no study": (lambda d: (d / "study.yaml").unlink(), "study.yaml is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_named_in_one_sentence(copy: Path, case: str) -> None:
    spoil, sentence = BAD[case]
    spoil(copy)
    with pytest.raises(AnalysisError, match=sentence) as error:
        load(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "case", ["truncated epochs", "missing metric", "duplicates", "duplicated epochs", "no study"]
)
def test_what_leaves_a_folder_usable_is_listed_when_not_strict(copy: Path, case: str) -> None:
    whole = load(copy)
    spoil, sentence = BAD[case]
    spoil(copy)
    usable = load(copy, strict=False)
    assert len(usable.problems) == 1
    assert pd.Series(usable.problems).str.contains(sentence).all()
    assert len(usable.trials) == len(whole.trials)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no results folder"):
        load(tmp_path / "nothing")


def test_a_folder_without_test_columns_loads(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan(seeds=1))
    rewrite(
        folder / "trials.parquet",
        lambda t: t[t["phase"] == "search"].drop(columns=[c for c in t if c.startswith("test.")]),
    )
    assert load(folder).finished["test.CL.accuracy"].isna().all()


def test_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys, analysis; "
        "unwanted = {'ray', 'torch', 'optuna', 'mtl_methods', 'trainables', 'sweeps'}; "
        "bad = unwanted & set(sys.modules);"
        " sys.exit(str(bad) if bad else 0)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=120)
