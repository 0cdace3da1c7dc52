"""Performance and fairness as functions of a method's own hyper-parameter (α, τ, λ, c, ...)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.objective import numeric_parameters
from analysis.pareto import nondominated
from analysis.results import Results
from analysis.scores import MEASURES, score

FAIRNESS = ("delta_m_variance", "worst_drop", "jain_index", "gini")


def fairness_sweep(results: Results) -> pd.DataFrame:
    """Every measure at every value of every method's own hyper-parameters.

    Trials of phase ``sensitivity`` (one hyper-parameter varied, all else at its best) where there
    are any for a method; otherwise the trials of its search, in which everything varies at once.

    Args:
        results: A loaded folder.

    Returns:
        One row for each method, hyper-parameter and value: ``method``, ``parameter``, ``value``,
        ``source`` (phase), ``split``, ``trials``, and the mean of each of `scores.MEASURES` with
        ``<measure>_se``; ``on_front``: not dominated in (`delta_m`, `delta_m_variance`) among the
        values of the same parameter. Sorted by method, parameter, value.
    """
    finished = results.finished
    tables = []
    for method, everything in finished[finished["phase"].isin(["sensitivity", "search"])].groupby(
        "method", sort=False
    ):
        own = everything[everything["phase"] == "sensitivity"]
        phase = "search" if own.empty else "sensitivity"
        own = everything[everything["phase"] == phase]
        tested = own[[m.column("test") for m in results.metrics]].notna().all(axis=None)
        split = "test" if tested else "validation"
        scores = score(results, own, split).set_index(own.index)
        for parameter in numeric_parameters(own, prefixes=("hp.",)):
            values = pd.to_numeric(own[parameter])
            moved = values.notna()
            if phase == "sensitivity":
                moved &= _varied_alone(own, parameter)
            grouped = scores[moved].groupby(values[moved])[list(MEASURES)]
            means, errors = grouped.mean(), grouped.sem().add_suffix("_se")
            if len(means) < 2:
                continue
            front = nondominated(means[["delta_m", "delta_m_variance"]].to_numpy(), [False, False])
            table = means.join(errors)
            table["trials"] = grouped.size()
            table["on_front"] = front
            table["value"] = table.index.astype(np.float64)
            table["method"] = method
            table["parameter"] = parameter.removeprefix("hp.")
            table["source"] = phase
            table["split"] = split
            tables.append(table)
    columns = [
        *("method", "parameter", "value", "source", "split", "trials", "on_front"),
        *(name for m in MEASURES for name in (m, f"{m}_se")),
    ]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def fairness_sentence(sweep: pd.DataFrame) -> list[str]:
    """For each method and hyper-parameter: the best value for performance and for fairness."""
    said = []
    controlled = sweep[sweep["source"] == "sensitivity"]
    for (method, parameter), own in controlled.groupby(["method", "parameter"], sort=False):
        kept = own.dropna(subset=["delta_m", "delta_m_variance"])
        if kept.empty:
            continue
        best = kept.sort_values("delta_m", kind="stable").iloc[0]
        fair = kept.sort_values("delta_m_variance", kind="stable").iloc[0]
        same = best["value"] == fair["value"]
        text = (
            f"{method}: Δm is best at {parameter} = {best['value']:g} "
            f"({best['delta_m']:.2f} %, variance {best['delta_m_variance']:.1f})"
        )
        text += (
            ", where the drops are also most even."
            if same
            else f", the drops most even at {fair['value']:g} ({fair['delta_m']:.2f} %, variance "
            f"{fair['delta_m_variance']:.1f})."
        )
        said.append(text)
    return said


def _varied_alone(trials: pd.DataFrame, parameter: str) -> pd.Series:
    """Trials in which every other own hyper-parameter has its most frequent value."""
    alone = pd.Series(np.ones(len(trials), dtype=bool), index=trials.index)
    for other in numeric_parameters(trials, prefixes=("hp.",)):
        if other != parameter:
            alone &= trials[other] == trials[other].mode().iloc[0]
    return alone
