"""Comparison of several studies: ranks across problems."""

from __future__ import annotations

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
    assert "CAGrad has the best mean rank" in html
    assert "Not in every study: FairGrad" in html
    assert pd.read_csv(paths.ranks)["variant"].tolist()[-1] == "ls"
    assert {p.stem for p in paths.figures} == {"rank_map", "ranks_over_studies", "similarity"}


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
