"""The report: summary.csv, figures and one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.figures import draw_all
from analysis.report import sections
from analysis.report.findings import findings
from analysis.report.page import Page, render
from analysis.results import Results, load
from analysis.scores import stl_reference
from analysis.summary import summarise


@dataclass(frozen=True)
class ReportPaths:
    """Where a report was written."""

    report: Path
    summary: Path
    figures: tuple[Path, ...]


def write_report(results_dir: str | Path) -> ReportPaths:
    """Analyse a results folder and write ``summary.csv``, ``figures/`` and ``report.html`` into it.

    What is wrong with the folder but leaves it usable is said in the report, which then shows what
    can be shown.

    Args:
        results_dir: A results folder.

    Returns:
        The files written.

    Raises:
        AnalysisError: The folder cannot be read at all (see `load`).
    """
    results = load(results_dir, strict=False)
    summary = summarise(results)
    summary_path = results.path / "summary.csv"
    summary.to_csv(summary_path, index=False)
    drawn = draw_all(results, results.path / "figures")
    tables = [
        sections.summary_table(results, summary),
        sections.metrics_table(results, summary),
        sections.fixed_dynamic_table(results),
        sections.failures_table(results),
        sections.trials_counts(results),
    ]
    page = Page(
        title=results.name,
        subtitle=_subtitle(results),
        findings=findings(results, summary),
        warnings=_warnings(results, summary),
        problems=results.problems,
        tables={table.name: table for table in tables if table is not None},
        figures={figure.spec.name: figure for figure in drawn},
        facts=_facts(results),
        documents={
            "study.yaml as run": yaml.safe_dump(
                dict(results.study), sort_keys=False, allow_unicode=True
            )
        },
    )
    report = results.path / "report.html"
    report.write_text(render(page), encoding="utf-8")
    paths = tuple(path for figure in drawn for path in (figure.png, figure.svg))
    return ReportPaths(report, summary_path, paths)


def _subtitle(results: Results) -> str:
    problem = results.manifest.get("problem", {})
    made = results.manifest.get("created", "")
    return (
        f"{problem.get('name', 'problem')}: {', '.join(results.tasks)}"
        + (f" · {made}" if made else "")
        + f" · fairsweep {results.manifest.get('fairsweep', '')}"
    )


def _warnings(results: Results, summary: pd.DataFrame) -> list[str]:
    warnings = list(stl_reference(results).problems)
    if results.manifest.get("fixture"):
        warnings.append(
            "The data of this study is a generated fixture: the numbers say nothing about the "
            "real data set."
        )
    lonely = summary[(summary["kind"] == "method") & (summary["seeds"] == 1)]
    if not lonely.empty:
        warnings.append(
            f"One seed only for {', '.join(lonely['label'])}: no spread is known, differences may "
            "be noise."
        )
    silent = summary[(summary["kind"] == "method") & (summary["seeds"] == 0)]
    if not silent.empty:
        warnings.append(
            f"No finished replicate of {', '.join(silent['label'])}: no result on the test split."
        )
    return warnings


def _facts(results: Results) -> dict[str, Mapping[str, Any]]:
    manifest = results.manifest
    problem = {key: value for key, value in manifest.get("problem", {}).items() if key != "tasks"}
    groups: dict[str, Any] = {
        "Problem": problem,
        "Protocol": {
            key: value for key, value in results.study.items() if not isinstance(value, list)
        },
        "Budgets": manifest.get("budgets", {}),
        "Versions": manifest.get("versions", {}),
        "Hardware": manifest.get("hardware", {}),
    }
    return {
        name: dict(group) for name, group in groups.items() if isinstance(group, Mapping) and group
    }
