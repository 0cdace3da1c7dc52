"""Tables of a report about results: measures, fronts, fixed weights, fairness, statistics."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.report.study import StudyAnalysis
from analysis.report.tables import Column, Table, decimals
from analysis.scores import MEASURE_LABELS, MEASURES, WALL_TIME

INDEX_DIGITS = {"jain_index": 4, "gini": 4}


def summary_table(study: StudyAnalysis) -> Table:
    """Measures of every method."""
    summary = study.summary
    columns = [
        Column("label", "method"),
        Column("seeds", "seeds"),
        *(
            Column(
                name,
                MEASURE_LABELS[name],
                INDEX_DIGITS.get(name, 2),
                f"{name}_se",
                "high" if higher else "low",
            )
            for name, higher in MEASURES.items()
            if summary[name].notna().any()
        ),
        *(
            Column(name, MEASURE_LABELS[name], 2, f"{name}_se", best="low")
            for name in _ranks(summary)
        ),
        Column("seconds_per_epoch", "s / epoch ↓", 3, best="low"),
        Column("n_diverged", "diverged"),
        Column("n_failed", "failed"),
    ]
    return Table(
        "summary",
        "Summary",
        summary,
        columns,
        "Mean ± standard error over seeds on the test split, best value of each column bold "
        "(single-task excepted). The error of a mean rank is that of the ranks of single seeds. "
        f"Diverged and failed trials of all phases are counted, never averaged. {WALL_TIME}",
        row_variant="variant",
    )


def _ranks(summary: pd.DataFrame) -> list[str]:
    """The kinds of mean rank to show: one where both say the same, as with one metric a task."""
    one, other = "mean_rank", "mean_rank_metrics"
    if summary[one].isna().all():
        return []
    first = summary[[one, f"{one}_se"]].to_numpy(dtype=np.float64).round(9)
    second = summary[[other, f"{other}_se"]].to_numpy(dtype=np.float64).round(9)
    return [one] if np.array_equal(first, second, equal_nan=True) else [one, other]


def metrics_table(study: StudyAnalysis) -> Table:
    """Raw test metrics of every method."""
    return Table(
        "metrics",
        "Metrics",
        study.summary,
        _metric_columns(study, study.summary, "test"),
        "Test metrics, mean ± standard error over seeds.",
        row_variant="variant",
    )


def validation_table(study: StudyAnalysis) -> Table | None:
    """Raw validation metrics of the replicates; None where there are test metrics."""
    if not study.untested:
        return None
    frame = labelled(study, study.validation)
    return Table(
        "validation",
        "Validation metrics",
        frame,
        _metric_columns(study, frame, "validation"),
        "Mean ± standard error over seeds. Methods were selected by these values, so they flatter.",
        row_variant="variant",
    )


def _metric_columns(study: StudyAnalysis, frame: pd.DataFrame, split: str) -> list[Column]:
    columns = [Column("label", "method"), Column("seeds", "seeds")]
    for metric in study.results.metrics:
        name = metric.column(split)
        best = "high" if metric.higher_is_better else "low"
        columns.append(Column(name, metric.label, decimals(frame[name]), f"{name}_se", best))
    return columns


def intervals_table(study: StudyAnalysis) -> Table | None:
    """Bootstrap intervals of every measure."""
    frame = study.intervals.dropna(subset=["low"])
    if frame.empty:
        return None
    frame = frame.assign(
        label=[study.results.label(str(name)) for name in frame["variant"]],
        name=[MEASURE_LABELS[str(name)] for name in frame["measure"]],
    ).reset_index(drop=True)
    columns = [
        Column("label", "method"),
        Column("name", "measure"),
        Column("seeds", "seeds"),
        Column("mean", "mean", 3),
        Column("low", "from", 3),
        Column("high", "to", 3),
        Column("stl_share", "share due to single-task", 2),
    ]
    return Table(
        "interval_table",
        "95 % confidence intervals",
        frame,
        columns,
        "Bootstrap over the seeds of the method and of the single-task models; the last column is "
        "the part of the variance that the single-task models cause.",
        row_variant="variant",
        long=True,
    )


def fairness_table(study: StudyAnalysis) -> Table | None:
    """Measures at every value of every own hyper-parameter that was varied."""
    frame = study.fairness.dropna(subset=["delta_m"])
    if frame.empty:
        return None
    frame = frame.assign(
        label=[study.results.label(str(name)) for name in frame["variant"]]
    ).reset_index(drop=True)
    columns = [
        Column("label", "method"),
        Column("parameter", "parameter"),
        Column("value", "value", 0, significant=3),
        Column("source", "phase"),
        Column("trials", "trials"),
        *(
            Column(name, MEASURE_LABELS[name], INDEX_DIGITS.get(name, 2), f"{name}_se")
            for name in (
                "delta_mtm",
                "delta_m",
                "delta_m_variance",
                "worst_drop",
                "jain_index",
                "gini",
            )
        ),
        Column("on_front", "on the front"),
    ]
    return Table(
        "fairness",
        "Performance and fairness by hyper-parameter",
        frame,
        columns,
        "Phase “sensitivity”: only this hyper-parameter varies; “replicate”: every value was tuned "
        "and trained anew as a method of its own; “search”: everything varies. "
        "“On the front”: no other value is better in both Δm and its variance.",
        row_variant="variant",
        long=True,
    )


def ranks_table(study: StudyAnalysis) -> Table | None:
    """Mean ranks over seeds."""
    test = study.rank_test
    if test is None:
        return None
    frame = test.mean_ranks.rename("rank").rename_axis("variant").reset_index()
    frame["groups"] = [
        ", ".join(str(i + 1) for i, group in enumerate(test.groups) if str(name) in group) or "–"
        for name in frame["variant"]
    ]
    columns = [
        Column("label", "method"),
        Column("rank", "mean rank over seeds ↓", 2, best="low"),
        Column("groups", "group"),
    ]
    return Table(
        "ranks",
        "Mean ranks",
        labelled(study, frame),
        columns,
        f"Friedman's test over {test.blocks} seeds: χ² = {test.statistic:.2f}, "
        f"p = {test.p_value:.3g}. Methods that share a group differ by less than Nemenyi's "
        f"critical difference of {test.critical_difference:.2f}.",
        row_variant="variant",
    )


def pairs_table(study: StudyAnalysis) -> Table | None:
    """Paired tests of every two methods."""
    frame = study.pairs
    if frame.empty:
        return None
    label = study.results.label
    frame = frame.assign(
        one=[label(str(name)) for name in frame["first"]],
        two=[label(str(name)) for name in frame["second"]],
    )
    return Table(
        "pairs",
        "Every two methods",
        frame,
        pair_columns(MEASURE_LABELS[study.measure], "seeds needed"),
        f"{PAIRS_CAPTION} Paired over the same seeds.",
        long=True,
    )


PAIRS_CAPTION = (
    "Significant: p after Holm's correction below 0.05. Needed: for 80 % power in a paired t test "
    "at level 0.05, if the effect is as large as it looks here."
)


def pair_columns(measure: str, needed: str) -> list[Column]:
    """Columns of a table of paired tests; `needed` is what more of would decide."""
    return [
        Column("one", "first"),
        Column("two", "second"),
        Column("difference", f"difference in {measure}", 2),
        Column("low", "from", 2),
        Column("high", "to", 2),
        Column("p", "p (t)", 4, floored=True),
        Column("p_holm", "p (Holm)", 4, floored=True),
        Column("p_wilcoxon", "p (Wilcoxon)", 4, floored=True),
        Column("effect", "Hedges' g", 2),
        Column("dominance", "Cliff's δ", 2),
        Column("significant", "significant"),
        Column("seeds_needed", needed, 0),
    ]


def labelled(study: StudyAnalysis, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the label of each row's variant."""
    return frame.assign(label=[study.results.label(str(name)) for name in frame["variant"]])
