"""The report: written for every kind of folder, self-contained, and safe from a study's strings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from synthetic_folder import METHODS, Plan, write_folder

from analysis import AnalysisError, ReportPaths, write_report

FOLDERS = {
    "two tasks": Plan(),
    "one task": Plan(tasks=1),
    "three tasks": Plan(tasks=3),
    "eleven tasks": Plan(tasks=11),
    "one seed": Plan(seeds=1),
    "all diverged": Plan(diverge=tuple(METHODS)),
    "no baselines": Plan(baselines=False),
    "no sweep": Plan(sweep=0),
    "sweep on test": Plan(test_on_sweep=True),
    "no replicates": Plan(seeds=0),
    "no fixed": Plan(fixed=()),
    "search only": Plan(seeds=0, sweep=0, fixed=(), baselines=False),
    "one method": Plan(methods=("ls",), fixed=()),
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ReportPaths]:
    """The report of a folder by its name, written once."""
    root = tmp_path_factory.mktemp("reports")

    @cache
    def report_of(name: str) -> ReportPaths:
        return write_report(write_folder(root / name, FOLDERS[name]))

    return report_of


@pytest.mark.parametrize("name", FOLDERS)
def test_writes_everything_for(name: str, reports: Callable[[str], ReportPaths]) -> None:
    paths = reports(name)
    assert paths.report.name == "report.html"
    assert not pd.read_csv(paths.summary).empty
    html = paths.report.read_text()
    assert {p.suffix for p in paths.figures} <= {".png", ".svg"}
    assert all(p.stat().st_size > 500 for p in paths.figures)
    assert "Findings" in html
    assert not re.search(
        r"\bnan\b", re.sub(r"base64,[^\"]*|is nan|<script.*?</script>", "", html, flags=re.S)
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "all diverged",
            "Not one of 20 replicates finished (20 diverged): no method can be ranked",
        ),
        ("search only", "No configuration was replicated"),
        ("no baselines", "CAGrad has the best mean Δp"),
        ("one seed", "One seed only for"),
    ],
)
def test_says_what_can_be_said(
    name: str, sentence: str, reports: Callable[[str], ReportPaths]
) -> None:
    assert sentence in reports(name).report.read_text()


def test_needs_no_network(reports: Callable[[str], ReportPaths]) -> None:
    html = reports("two tasks").report.read_text()
    links = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']*)", html)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "@import" not in html


def test_the_methods_text_is_there_as_latex(reports: Callable[[str], ReportPaths]) -> None:
    html = reports("two tasks").report.read_text()
    latex = html.partition('data-file="methods.tex"')[2].partition("</pre>")[0]
    assert r"multi\_digits" in latex
    assert r"$\Delta$mtm is the mean over tasks" in latex


def test_the_margin_of_equivalence_can_be_stated(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan(noise=0.0005, sweep=0, search=1))
    html = write_report(folder, margin=5.0).report.read_text()
    assert "margin ±5, p" in html
    assert "do as well as CAGrad itself" in html
    assert "margin ±0.1, p" in write_report(folder, margin=0.1).report.read_text()
    with pytest.raises(AnalysisError, match="margin is positive"):
        write_report(folder, margin=0.0)


def test_strings_of_a_study_are_escaped(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    plan = Plan(
        name=attack,
        fail=("uw",),
        sweep=0,
        methods=("ls", "uw"),
        extra={"hardware": {"cpu": attack}},
    )
    folder = write_folder(tmp_path / "f", plan)
    trials = pd.read_parquet(folder / "trials.parquet")
    trials["error_message"] = attack
    trials.to_parquet(folder / "trials.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["methods"]["ls"]["label"] = attack
    (folder / "manifest.json").write_text(json.dumps(manifest))
    html = write_report(folder).report.read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


def test_failures_are_listed_with_task_epoch_and_step(tmp_path: Path) -> None:
    plan = Plan(diverge=("uw",), sweep=0, fixed=(), methods=("ls", "uw"))
    html = write_report(write_folder(tmp_path / "f", plan)).report.read_text()
    rows = re.findall(r"<tr data-family=\"uw\">.*?</tr>", html)
    rows = [row for row in rows if "NonFiniteLossError" in row]
    assert len(rows) == 10
    for part in ("diverged", "RR", ">4<", ">17<", "replicate"):
        assert any(part in row for row in rows), part


def test_problems_of_the_folder_are_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan(sweep=0, methods=("ls", "fairgrad"), fixed=()))
    epochs = folder / "epochs.parquet"
    epochs.write_bytes(epochs.read_bytes()[:100])
    html = write_report(folder).report.read_text()
    assert "epochs.parquet is truncated" in html
    assert "FairGrad" in html


@pytest.mark.parametrize("column", ["validation.CL.accuracy", "test.RR.mse"])
def test_a_missing_metric_is_said_and_the_rest_shown(column: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan(sweep=3, methods=("ls", "fairgrad"), fixed=()))
    trials = pd.read_parquet(folder / "trials.parquet")
    trials.drop(columns=[column]).to_parquet(folder / "trials.parquet")
    html = write_report(folder).report.read_text()
    assert f"lacks the column {column}" in html
    assert "FairGrad" in html
