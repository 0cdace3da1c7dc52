"""One report over several studies: ranks across problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.errors import AnalysisError
from analysis.figures import DrawnFigure, FigureSpec
from analysis.figures.critical_difference import diagram
from analysis.figures.style import COLOURS, GREY, look, new_figure, save
from analysis.report.findings import Finding
from analysis.report.page import Page, render
from analysis.report.sections import Section
from analysis.report.study_tables import PAIRS_CAPTION, pair_columns
from analysis.report.tables import Column, Table
from analysis.scores import MEASURE_LABELS, MEASURES
from analysis.statistics import RankTest
from analysis.studies import Comparison, load_studies
from analysis.wording import counted, joined

RANKS_CAPTION = (
    "Mean rank of each method over studies, best left. Bars join methods whose mean ranks differ "
    "by less than the critical difference (CD) of Nemenyi's test at level 0.05."
)
SIMILARITY_CAPTION = (
    "One point for each study: how far the best method is ahead of equal weights against the mean "
    "cosine of task gradients to their mean. (Figure 7 of “Uniform Loss vs. Specialized "
    "Optimization”.)"
)
HEAT_CAPTION = "Rank of each method in each study; 1 is best."


@dataclass(frozen=True)
class ComparisonPaths:
    """Where a comparison was written."""

    report: Path
    ranks: Path
    figures: tuple[Path, ...]


def compare(
    directories: Sequence[str | Path],
    output: str | Path = "comparison",
    measure: str = "delta_mtm",
) -> ComparisonPaths:
    """Write one report over several studies.

    Args:
        directories: At least two results folders.
        output: Folder for ``report.html``, ``ranks.csv`` and ``figures/``; made if missing.
        measure: Measure that is compared, on the test split.

    Returns:
        The files written.

    Raises:
        AnalysisError: The folders cannot be compared (see `studies.load_studies`), or the output
            folder is one of them or cannot be made.
    """
    comparison = load_studies(directories, measure)
    folder = Path(output)
    if folder.resolve() in {results.path.resolve() for results in comparison.studies.values()}:
        raise AnalysisError(f"{folder} is one of the compared folders; choose another output.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnalysisError(
            f"The comparison cannot be written to {folder} ({error.strerror}); choose a folder, "
            "new or existing."
        ) from None
    ranks_path = folder / "ranks.csv"
    comparison.ranks.rename_axis("variant").to_csv(ranks_path)
    drawn = _draw(comparison, folder / "figures")
    page = Page(
        title=f"Comparison of {len(comparison.studies)} studies",
        subtitle=", ".join(comparison.studies),
        findings=_findings(comparison),
        warnings=_warnings(comparison),
        problems=[
            f"{name}: {problem}"
            for name, results in comparison.studies.items()
            for problem in results.problems
        ],
        sections=_sections(comparison, drawn),
        methods_text=[_method_text(comparison)],
        facts={
            name: {
                "folder": str(results.path),
                "problem": results.manifest.get("problem", {}).get("name", ""),
                "tasks": ", ".join(results.tasks),
                "fairsweep": results.manifest.get("fairsweep", ""),
            }
            for name, results in comparison.studies.items()
        },
    )
    report = folder / "report.html"
    report.write_text(render(page), encoding="utf-8")
    paths = tuple(path for figure in drawn for path in (figure.png, figure.svg))
    return ComparisonPaths(report, ranks_path, paths)


def _findings(comparison: Comparison) -> list[Finding]:
    ranks = comparison.ranks.dropna(subset=["mean_rank"])
    if ranks.empty:
        text = f"No method of any study has a value of {MEASURE_LABELS[comparison.measure]}, so "
        return [Finding(text + "nothing can be compared by it.", "values")]
    label, count = comparison.labels, len(comparison.comparable)
    said = [Finding(_leader(ranks["common_rank"].dropna(), label, count), "ranks")]
    test = comparison.over_studies
    if test is not None:
        groups = [", ".join(label[name] for name in group) for group in test.groups]
        said.append(
            Finding(
                f"Friedman's test over studies: p = {test.p_value:.3g}; not distinguishable at the "
                f"critical difference of {test.critical_difference:.2f}: "
                + ("; ".join(groups) if groups else "no two methods")
                + ".",
                "figure-ranks_over_studies",
            )
        )
    table = comparison.table[comparison.comparable]
    winners = table.idxmax() if MEASURES[comparison.measure] else table.idxmin()
    listed = ", ".join(f"{label[str(name)]} {n}" for name, n in winners.value_counts().items())
    said.append(Finding(f"Best in so many of the studies: {listed}.", "values"))
    if not np.isnan(comparison.similarity_correlation):
        said.append(
            Finding(
                "Over studies, similarity of task gradients and the gain over equal weights "
                f"correlate with ρ = {comparison.similarity_correlation:.2f} (Spearman, "
                f"{comparison.similarity['gain'].notna().sum()} studies).",
                "similarity",
            )
        )
    return said


def _leader(common: pd.Series, label: dict[str, str], count: int) -> str:
    """Who leads among the methods that all studies have."""
    studies = counted(count, "study", "studies")
    if common.empty:
        return f"No method is in all of the {studies}, so mean ranks do not compare like with like."
    if len(common) == 1:
        return f"Only {label[str(common.index[0])]} is in all of the {studies}: nothing to rank."
    best = [label[str(name)] for name in common.index[common == common.min()]]
    text = f"Of the {len(common)} methods in all of the {studies}, {joined(best)} "
    text += f"{'has' if len(best) == 1 else 'share'} the best mean rank, {common.min():.2f}"
    rest = common[common > common.min()]
    if len(rest):
        text += f"; {label[str(rest.index[0])]} follows with {rest.iloc[0]:.2f}"
    return text + "."


def _warnings(comparison: Comparison) -> list[str]:
    count = len(comparison.comparable)
    found = [
        f"No method of {name} has a value of {MEASURE_LABELS[comparison.measure]}: the study is "
        "left out of ranks and tests."
        for name in comparison.studies
        if name not in comparison.comparable
    ]
    if comparison.ambiguous:
        found.append(
            f"One name, several methods: {', '.join(comparison.ambiguous)} stands for different "
            "methods in different studies, so its ranks mix them."
        )
    partial = comparison.ranks[comparison.ranks["studies"] < count]
    if not partial.empty:
        names = ", ".join(comparison.labels[str(name)] for name in partial.index)
        found.append(
            f"Not in every study: {names}. Their mean ranks cover fewer studies, and they are left "
            "out of the tests."
        )
    if count < 5:
        found.append(
            f"{count} studies are few: a test over problems sees only very large differences."
        )
    return found


def _sections(comparison: Comparison, drawn: list[DrawnFigure]) -> list[Section]:
    names = list(comparison.studies)
    label = [comparison.labels[str(v)] for v in comparison.ranks.index]
    ranks = comparison.ranks.rename_axis("variant").reset_index().assign(label=label)
    values = comparison.table.reindex(comparison.ranks.index).rename_axis("variant").reset_index()
    values = values.assign(label=label)
    best = "high" if MEASURES[comparison.measure] else "low"
    tables = [
        Table(
            "ranks",
            "Ranks across studies",
            ranks,
            [
                Column("label", "method"),
                Column("common_rank", "mean rank among methods in all ↓", 2, best="low"),
                Column("mean_rank", "mean rank ↓", 2),
                Column("studies", "studies"),
                *(Column(name, name, 1, best="low") for name in names),
            ],
            "Rank by the mean over seeds on the test split, among the methods of each study; first "
            "column: among the methods that all studies have, which compares like with like.",
            row_variant="variant",
        ),
        Table(
            "values",
            MEASURE_LABELS[comparison.measure],
            values,
            [Column("label", "method"), *(Column(name, name, 2, best=best) for name in names)],
            "Mean over seeds on the test split.",
            row_variant="variant",
        ),
    ]
    for name, title, test in (
        ("test_studies", "Friedman's test over studies", comparison.over_studies),
        ("test_seeds", "Friedman's test over all seeds of all studies", comparison.over_seeds),
    ):
        if test is not None:
            tables.append(_test_table(name, title, test, comparison))
    if not comparison.pairs.empty:
        tables.append(_pairs_table(comparison))
    link = Table(
        "similarity",
        "Gradient similarity and gain",
        comparison.similarity,
        [
            Column("study", "study"),
            Column("similarity", "mean cosine", 3),
            Column("gain", "best − equal weights [%]", 2),
            Column("spread", "spread of methods [%]", 2),
        ],
        "Where task gradients agree, methods differ little from equal weights.",
    )
    return [
        Section("across", "Across studies", tables=tables, figures=drawn),
        Section("link", "Where balancing pays", tables=[link]),
    ]


def _test_table(name: str, title: str, test: RankTest, comparison: Comparison) -> Table:
    frame = pd.DataFrame({"rank": test.mean_ranks}).rename_axis("variant").reset_index()
    frame["label"] = [comparison.labels[str(v)] for v in frame["variant"]]
    return Table(
        name,
        title,
        frame,
        [Column("label", "method"), Column("rank", "mean rank ↓", 2, best="low")],
        f"{test.blocks} blocks: χ² = {test.statistic:.2f}, p = {test.p_value:.3g}, critical "
        f"difference {test.critical_difference:.2f}.",
        row_variant="variant",
    )


def _pairs_table(comparison: Comparison) -> Table:
    frame = comparison.pairs.assign(
        one=[comparison.labels[str(name)] for name in comparison.pairs["first"]],
        two=[comparison.labels[str(name)] for name in comparison.pairs["second"]],
    )
    return Table(
        "pairs",
        "Every two methods over studies",
        frame,
        pair_columns(MEASURE_LABELS[comparison.measure], "studies needed"),
        f"{PAIRS_CAPTION} Paired over the {len(comparison.common)} studies' means.",
        long=True,
    )


def _draw(comparison: Comparison, directory: Path) -> list[DrawnFigure]:
    drawn = []
    with look():
        for name, title, caption, figure in (
            ("rank_map", "Ranks by study", HEAT_CAPTION, _rank_map(comparison)),
            ("ranks_over_studies", "Mean ranks over studies", RANKS_CAPTION, _ranks(comparison)),
            ("similarity", "Where balancing pays", SIMILARITY_CAPTION, _similarity(comparison)),
        ):
            if figure is None:
                continue
            spec = FigureSpec(name, title, caption, lambda _: None)
            drawn.append(DrawnFigure(spec, *save(figure, directory, name)))
    return drawn


def _ranks(comparison: Comparison) -> Figure | None:
    test = comparison.over_studies
    return None if test is None else diagram(test, pd.Series(comparison.labels))


def _rank_map(comparison: Comparison) -> Figure | None:
    ranks = comparison.ranks
    if ranks.empty:
        return None
    names = list(comparison.studies)
    values = ranks[names].to_numpy(dtype=np.float64)
    figure = new_figure(0.9 * len(names) + 2.6, 0.34 * len(ranks) + 1.4)
    ax = figure.subplots()
    image = ax.imshow(values, cmap="viridis_r", aspect="auto", vmin=1, vmax=max(2, len(ranks)))
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            ax.text(
                j, i, f"{value:g}", ha="center", va="center", fontsize=9,
                color="white" if value > 0.5 * len(ranks) else "black",
            )  # fmt: skip
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.set_yticks(range(len(ranks)), [comparison.labels[str(v)] for v in ranks.index])
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax, label="rank", shrink=0.8)
    return figure


def _similarity(comparison: Comparison) -> Figure | None:
    table = comparison.similarity.dropna(subset=["similarity", "gain"])
    if len(table) < 2:
        return None
    figure = new_figure(5.6, 3.8)
    ax = figure.subplots()
    ax.scatter(table["similarity"], table["gain"], color=COLOURS[0], s=40)
    for row in table.to_dict("records"):
        ax.annotate(
            str(row["study"]), (row["similarity"], row["gain"]), fontsize=9,
            textcoords="offset points", xytext=(5, 4),
        )  # fmt: skip
    ax.axhline(0.0, color=GREY, lw=1)
    ax.margins(0.15)
    ax.set_xlabel("mean cosine of task gradients to their mean")
    ax.set_ylabel("best method − equal weights [%]")
    return figure


def _method_text(comparison: Comparison) -> str:
    return (
        f"{len(comparison.studies)} studies were compared by {MEASURE_LABELS[comparison.measure]} "
        "on the test split: methods were ranked within each study by their mean over seeds, ranks "
        "averaged over studies, and compared by Friedman's test with Nemenyi's critical "
        "difference (Demšar, 2006)."
    )
