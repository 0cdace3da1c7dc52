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
    columns = [Column("label", "method"), Column("seeds", "seeds")]
    for metric in study.results.metrics:
        name = metric.column("test")
        best = "high" if metric.higher_is_better else "low"
        columns.append(
            Column(name, metric.label, decimals(study.summary[name]), f"{name}_se", best)
        )
    return Table(
        "metrics",
        "Metrics",
        study.summary,
        columns,
        "Test metrics, mean ± standard error over seeds.",
        row_variant="variant",
    )


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


def standing_table(study: StudyAnalysis) -> Table | None:
    """Distance of each method to the swept front, with a verdict."""
    frame = labelled(study, study.standing)
    if frame.empty:
        return None
    columns = [
        Column("label", "method"),
        Column("seeds", "seeds"),
        Column("distance", "distance", 2),
        Column("low", "from", 2),
        Column("high", "to", 2),
        Column("dominates", "points it dominates"),
        Column("dominated_by", "points that dominate it"),
        Column("verdict", "verdict"),
    ]
    return Table(
        "standing",
        "Against the front of swept fixed weights",
        frame,
        columns,
        "Signed distance in percentage points of drop to what linear scalarisation with swept "
        "weights dominates, with its 95 % interval: positive is behind the front, negative beyond "
        "it. A verdict needs the whole interval on one side.",
        row_variant="variant",
    )


def hypervolume_table(study: StudyAnalysis) -> Table | None:
    """Hypervolume of the front, and what each method adds."""
    frame = labelled(study, study.hypervolumes)
    if frame.empty:
        return None
    columns = [
        Column("label", "set"),
        Column("hypervolume", "hypervolume ↑", 4),
        Column("gain", "added to the front ↑", 4),
    ]
    return Table(
        "hypervolume",
        "Hypervolume",
        frame,
        columns,
        "Share of the box between the best values and a point 10 % beyond the worst that the front "
        "of the weight sweep dominates, alone and with each method's mean point added.",
        row_variant="variant",
    )


def fixed_dynamic_table(study: StudyAnalysis) -> Table | None:
    """Fixed beside dynamic weights with the equivalence test; None if none were trained."""
    frame = study.equivalence
    if frame.empty:
        return None
    label = MEASURE_LABELS[study.measure]
    columns = [
        Column("label", "weights from"),
        Column("equal", f"equal weights {label}", 2, "equal_se"),
        Column("fixed", f"fixed weights {label}", 2, "fixed_se"),
        Column("dynamic", f"dynamic {label}", 2, "dynamic_se"),
        Column("difference", "fixed − dynamic", 2),
        Column("low", "from", 2),
        Column("high", "to", 2),
        Column("p_equivalence", "p (equivalence)", 3, floored=True),
        Column("p_difference", "p (difference)", 3, floored=True),
        Column("verdict", "verdict"),
        *(
            Column(f"weight.{task}", f"weight of {task}", 3)
            for task in study.results.tasks
            if frame[f"weight.{task}"].notna().any()
        ),
    ]
    return Table(
        "fixed_dynamic",
        "Fixed weights beside their dynamic source",
        frame,
        columns,
        "Linear scalarisation trained with the weights that a dynamic method ended with, beside "
        "the method itself and equal weights (Table 2 of “Uniform Loss vs. Specialized "
        f"Optimization”). Two one-sided tests against a margin of ±{frame['margin'].iloc[0]:g}; "
        "the interval has level 90 %.",
        row_variant="source",
    )


def sweep_table(study: StudyAnalysis) -> Table | None:
    """Dynamic and extracted fixed weights beside the best swept ones, on one split."""
    frame = study.beside_sweep
    if frame.empty:
        return None
    label = MEASURE_LABELS[study.measure]
    columns = [
        Column("label", "weights from"),
        Column("dynamic", f"dynamic {label}", 2, "dynamic_se"),
        Column("fixed", f"extracted {label}", 2, "fixed_se"),
        Column("swept", f"best swept {label}", 2, "swept_se"),
        Column("point", "best swept weights"),
        Column("points", "points swept"),
    ]
    return Table(
        "beside_sweep",
        "Extracted weights beside the best of the weight sweep",
        frame,
        columns,
        f"All on the {frame['split'].iloc[0]} split. The best swept point is chosen on these very "
        "values, which favours it.",
        row_variant="source",
    )


def fairness_table(study: StudyAnalysis) -> Table | None:
    """Measures at every value of every own hyper-parameter that was varied."""
    frame = study.fairness.dropna(subset=["delta_m"])
    if frame.empty:
        return None
    frame = frame.assign(
        label=[study.results.label(str(name)) for name in frame["method"]]
    ).reset_index(drop=True)
    columns = [
        Column("label", "method"),
        Column("parameter", "parameter"),
        Column("value", "value", 3),
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
        "Phase “sensitivity”: only this hyper-parameter varies; phase “search”: everything does. "
        "“On the front”: no other value is better in both Δm and its variance.",
        row_variant="method",
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
    columns = [
        Column("one", "first"),
        Column("two", "second"),
        Column("difference", f"difference in {MEASURE_LABELS[study.measure]}", 2),
        Column("low", "from", 2),
        Column("high", "to", 2),
        Column("p", "p (t)", 4, floored=True),
        Column("p_holm", "p (Holm)", 4, floored=True),
        Column("p_wilcoxon", "p (Wilcoxon)", 4, floored=True),
        Column("effect", "Hedges' g", 2),
        Column("dominance", "Cliff's δ", 2),
        Column("significant", "significant"),
        Column("seeds_needed", "seeds needed", 0),
    ]
    return Table(
        "pairs",
        "Every two methods",
        frame,
        columns,
        "Paired over the same seeds. Significant: p after Holm's correction below 0.05. Seeds "
        "needed: for 80 % power, if the effect is as large as it looks here.",
        long=True,
    )


def labelled(study: StudyAnalysis, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the label of each row's variant."""
    return frame.assign(label=[study.results.label(str(name)) for name in frame["variant"]])
