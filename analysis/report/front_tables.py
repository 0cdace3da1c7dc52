"""Tables of a report about fixed weights: the front that they reach, and dynamic ones beside it."""

from __future__ import annotations

import pandas as pd

from analysis.report.study import StudyAnalysis
from analysis.report.study_tables import labelled
from analysis.report.tables import Column, Table
from analysis.scores import MEASURE_LABELS

STANDINGS = {
    "tasks": ("standing", "Against the front of swept fixed weights", "points of drop"),
    "metrics": (
        "standing_metrics",
        "Against the front of swept fixed weights, every metric an objective",
        "points of drop",
    ),
    "losses": (
        "standing_losses",
        "Against the front of swept fixed weights, by losses",
        "points of validation loss, relative to the sweep's mean loss of the task,",
    ),
}
"""Kind of objectives: name of the table, its title, and what a percentage point is of."""


def standing_tables(study: StudyAnalysis) -> list[Table]:
    """Standing of each method against the swept front, one table for each kind of objectives."""
    return [
        _standing_table(study, frame, *STANDINGS[kind])
        for kind, frame in study.standings.items()
        if not frame.empty
    ]


def _standing_table(
    study: StudyAnalysis, frame: pd.DataFrame, name: str, title: str, unit: str
) -> Table:
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
        name,
        title,
        labelled(study, frame),
        columns,
        f"Signed distance in percentage {unit} to what linear scalarisation with swept weights "
        "dominates, with its 95 % interval: positive is behind the front, negative beyond it. A "
        "verdict needs the whole interval on one side. Equal weights are a point of the front.",
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
        Column("p_equivalence", "p equal", 3, floored=True, hint="of the two one-sided tests"),
        Column("p_difference", "p differ", 3, floored=True, hint="of Welch's two-sided test"),
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
        f"Optimization”). Two one-sided tests against a margin of ±{frame['margin'].iloc[0]:g} "
        "(p equal) and Welch's two-sided test (p differ); the interval has level 90 %.",
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
