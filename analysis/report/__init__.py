"""The report: summary.csv, figures and one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from analysis.equivalence import MARGIN
from analysis.errors import AnalysisError
from analysis.figures import draw_all
from analysis.figures.forest import draw_equivalence
from analysis.loading import load
from analysis.report.cautions import warnings
from analysis.report.findings import findings
from analysis.report.methods_text import methods_text
from analysis.report.page import Page, render
from analysis.report.payload import payload
from analysis.report.sections import sections
from analysis.report.study import StudyAnalysis
from analysis.results import Results


@dataclass(frozen=True)
class ReportPaths:
    """Where a report was written."""

    report: Path
    summary: Path
    figures: tuple[Path, ...]


def write_report(
    results_dir: str | Path, *, notes: Sequence[str] = (), margin: float = MARGIN
) -> ReportPaths:
    """Analyse a results folder and write ``summary.csv``, ``figures/`` and ``report.html`` into it.

    What is wrong with the folder but leaves it usable is said in the report, which then shows what
    can be shown.

    Args:
        results_dir: A results folder.
        notes: Sentences about the folder that the report must say, besides what `load` finds.
        margin: Difference within which fixed and dynamic weights count as equivalent, in
            percentage points; state it before you look.

    Returns:
        The files written.

    Raises:
        AnalysisError: The folder cannot be read at all (see `load`), or the margin is not positive.
    """
    if not margin > 0:
        raise AnalysisError(f"An equivalence margin is positive, not {margin}.")
    results = load(results_dir, strict=False)
    study = StudyAnalysis(results, margin)
    summary_path = results.path / "summary.csv"
    study.summary.to_csv(summary_path, index=False)
    drawn = draw_all(
        results,
        results.path / "figures",
        {"equivalence": partial(draw_equivalence, margin=margin)},
    )
    page = Page(
        title=results.name,
        subtitle=_subtitle(results),
        findings=findings(study),
        warnings=warnings(study),
        problems=(*notes, *results.problems),
        sections=sections(study, {figure.spec.name: figure for figure in drawn}),
        methods_text=methods_text(study),
        facts=_facts(results),
        documents={
            "study.yaml as run": yaml.safe_dump(
                dict(results.study), sort_keys=False, allow_unicode=True
            )
        },
        data=payload(results),
    )
    report = results.path / "report.html"
    report.write_text(render(page), encoding="utf-8")
    paths = tuple(path for figure in drawn for path in (figure.png, figure.svg))
    return ReportPaths(report, summary_path, paths)


def _subtitle(results: Results) -> str:
    problem = results.manifest.get("problem", {})
    made = str(results.manifest.get("created", ""))
    return (
        f"{problem.get('name', 'problem')}: {', '.join(results.tasks)}"
        + (f" · {made}" if made else "")
        + f" · fairsweep {results.manifest.get('fairsweep', '')}"
    )


def _facts(results: Results) -> dict[str, Mapping[str, Any]]:
    manifest = results.manifest
    problem = {key: value for key, value in manifest.get("problem", {}).items() if key != "tasks"}
    groups: dict[str, Any] = {
        "Problem": problem,
        "Protocol": results.study.get("protocol", {}),
        "Search space": results.study.get("search_space", {}),
        "Budgets": manifest.get("budgets", {}),
        "Versions": manifest.get("versions", {}),
        "Hardware": manifest.get("hardware", {}),
    }
    return {
        name: dict(group) for name, group in groups.items() if isinstance(group, Mapping) and group
    }
