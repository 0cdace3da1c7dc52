"""Comparison of several studies: ranks across problems."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from synthetic_folder import Plan, write_folder

from analysis import AnalysisError, compare
from analysis.studies import load_studies


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("studies")
    fewer = ("ls", "uw", "famo", "cagrad")
    plans = [
        Plan(tasks=2, name="digits", search=1, noise=0.001),
        Plan(tasks=3, name="city", search=1, seed=1, noise=0.001),
        Plan(tasks=4, name="digits", search=1, seed=2, noise=0.001, methods=fewer, fixed=()),
    ]
    return [write_folder(root / str(i), plan) for i, plan in enumerate(plans)]


def test_ranks_across_studies(folders: list[Path]) -> None:
    comparison = load_studies(folders)
    assert list(comparison.studies) == ["digits (0)", "city", "digits (2)"]
    ranks = comparison.ranks
    assert ranks.loc["fairgrad", "studies"] == 2
    assert ranks.loc["ls", "mean_rank"] == pytest.approx((5 + 5 + 4) / 3)
    assert set(comparison.common.columns) == {"ls", "uw", "famo", "cagrad"}
    test = comparison.over_studies
    assert test is not None
    assert test.blocks == 3
    assert test.mean_ranks.index[0] == "cagrad"
    over_seeds = comparison.over_seeds
    assert over_seeds is not None
    assert over_seeds.blocks == 12
    assert len(comparison.similarity) == 3
    assert len(comparison.pairs) == 6


def test_writes_one_report(folders: list[Path], tmp_path: Path) -> None:
    paths = compare(folders, tmp_path / "out")
    html = paths.report.read_text()
    assert "Of the 4 methods in all of the 3 studies, CAGrad has the best mean rank" in html
    assert "Not in every study: FairGrad" in html
    ranks = pd.read_csv(paths.ranks)
    assert ranks["variant"].tolist()[-2:] == ["ls", "fairgrad"]  # what is not in all comes last
    assert {p.stem for p in paths.figures} == {"rank_map", "ranks_over_studies", "similarity"}


def test_methods_of_a_single_study_do_not_move_the_leader(tmp_path: Path) -> None:
    """Two methods, one win each: a tie, however many others one of the studies has."""
    plans = [
        Plan(name="many", search=1, noise=0.001, fixed=()),
        Plan(name="few", search=1, noise=0.001, fixed=(), methods=("uw", "cagrad")),
    ]
    folders = [write_folder(tmp_path / plan.name, plan) for plan in plans]
    trials = pd.read_parquet(folders[1] / "trials.parquet")
    swapped = {"uw": "cagrad", "cagrad": "uw"}
    for column in ("variant", "method"):
        trials[column] = trials[column].replace(swapped)
    trials.to_parquet(folders[1] / "trials.parquet")
    comparison = load_studies(folders)
    ranks = comparison.ranks
    assert ranks.loc[["uw", "cagrad"], "common_rank"].tolist() == [1.5, 1.5]
    assert ranks.loc["cagrad", "mean_rank"] != ranks.loc["uw", "mean_rank"]
    html = compare(folders, tmp_path / "out").report.read_text()
    assert "share the best mean rank, 1.50" in html


def test_every_two_methods_are_tested_over_studies(folders: list[Path], tmp_path: Path) -> None:
    html = compare(folders, tmp_path / "out").report.read_text()
    assert "Every two methods over studies" in html
    assert "Paired over the 3 studies" in html


def test_a_study_without_the_measure_is_named_and_spoils_nothing(
    folders: list[Path], tmp_path: Path
) -> None:
    bare = write_folder(tmp_path / "bare", Plan(name="bare", search=1, baselines=False, seed=5))
    comparison = load_studies([*folders, bare])
    assert comparison.comparable == ["digits (0)", "city", "digits (2)"]
    assert comparison.over_studies is not None
    assert comparison.over_studies.blocks == 3
    assert comparison.over_seeds is not None
    html = compare([*folders, bare], tmp_path / "out").report.read_text()
    assert "No method of bare has a value of Δmtm" in html
    assert "in all of the 3 studies" in html


def test_no_study_has_the_measure(tmp_path: Path) -> None:
    plans = [Plan(name=n, search=1, baselines=False, methods=("uw",), fixed=()) for n in "ab"]
    folders = [write_folder(tmp_path / plan.name, plan) for plan in plans]
    html = compare(folders, tmp_path / "out").report.read_text()
    assert "so nothing can be compared by it" in html


@pytest.mark.parametrize("measure", ["delta_m", "gini"])
def test_lower_is_better_has_winners_too(folders: list[Path], tmp_path: Path, measure: str) -> None:
    html = compare(folders, tmp_path / "out", measure=measure).report.read_text()
    assert "Best in so many of the studies: CAGrad" in html or measure == "gini"
    assert "Best in so many of the studies" in html


def test_one_name_for_two_methods_is_a_warning(folders: list[Path], tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", Plan(name="other", search=1, seed=3))
    file = other / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["methods"]["uw"]["name"] = "uw+cagrad"
    file.write_text(json.dumps(manifest))
    html = compare([folders[0], other], tmp_path / "out").report.read_text()
    assert "One name, several methods: uw stands for different" in html


def test_an_output_that_is_a_file_is_named(folders: list[Path], tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for output in (taken, taken / "inside"):
        with pytest.raises(AnalysisError, match=r"taken.* choose a folder, new or existing\.$"):
            compare(folders, output)
    assert taken.read_text() == "mine"


def test_bad_comparisons_are_named(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="at least two"):
        compare(folders[:1], tmp_path)
    with pytest.raises(AnalysisError, match="named twice"):
        compare([folders[0], folders[0]], tmp_path)
    with pytest.raises(AnalysisError, match="is one of the compared folders"):
        compare(folders, folders[0])
    with pytest.raises(AnalysisError, match="Unknown measure"):
        compare(folders, tmp_path, measure="delta")
    with pytest.raises(AnalysisError, match="no results folder"):
        compare([folders[0], tmp_path / "none"], tmp_path / "out")
