"""The measures of every single trial, against the single-task baselines of the same folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import measures
from analysis.results import Results

MEASURES: dict[str, bool] = {
    "delta_mtm": True,
    "delta_m": False,
    "delta_p": True,
    "delta_m_variance": False,
    "worst_drop": False,
    "jain_index": True,
    "gini": False,
}
"""Measures of one trial and whether higher is better. All but the last two are in percent (the
variance in squared percent)."""

MEASURE_LABELS: dict[str, str] = {
    "delta_mtm": "Δmtm [%] ↑",
    "delta_m": "Δm [%] ↓",
    "delta_p": "Δp [%] ↑",
    "delta_m_variance": "Var[Δm] [%²] ↓",
    "worst_drop": "worst task's drop [%] ↓",
    "jain_index": "Jain's index ↑",
    "gini": "Gini ↓",
    "mean_rank": "mean rank ↓",
    "mean_rank_metrics": "mean rank over metrics ↓",
}

WALL_TIME = (
    "Seconds are wall time on a machine that other trials or programs may have shared, so small "
    "differences mean nothing."
)
"""Said wherever times are compared."""

LINEAR_SCALARISATION = "ls"
"""The method that weighs tasks as it is told, by default equally."""

DESCRIPTORS = ["trial_id", "phase", "method", "variant", "source_method", "seed"]


@dataclass(frozen=True)
class Reference:
    """Single-task performance, one entry for each metric of the study.

    Attributes:
        values: Mean over the seeds of each metric's single-task trials, shape (M,); NaN where none.
        samples: The values behind each mean, one array for each metric.
        problems: One sentence for each metric that cannot serve as a reference.
    """

    values: measures.Floats
    samples: tuple[measures.Floats, ...]
    problems: tuple[str, ...]


def final_trials(results: Results) -> pd.DataFrame:
    """All trials whose test split was to be read, whatever their status: what tables report.

    Replicates and trained fixed weights; of the baselines those with a test value.
    """
    trials = results.trials
    test = [metric.column("test") for metric in results.metrics]
    tested = trials[test].notna().any(axis=1)
    final = trials["phase"].isin(["replicate", "fixed_weights"])
    return trials[final | ((trials["phase"] == "baselines") & tested)]


def stl_reference(results: Results, split: str = "test") -> Reference:
    """Mean single-task value of every metric over the baselines' seeds.

    On the test split these are the replicates of the tuned single-task models. On validation, the
    same trials (those with a test value) if there are any, else the best configuration of each.

    Args:
        results: A loaded folder.
        split: ``"test"`` or ``"validation"``.

    Returns:
        The reference; a metric without finished baseline, or whose mean is zero, is NaN in it and
        named in its problems.
    """
    baselines = results.finished[results.finished["phase"] == "baselines"]
    test = [metric.column("test") for metric in results.metrics]
    replicated = baselines[baselines[test].notna().any(axis=1)]
    chosen = baselines if replicated.empty else replicated
    means, samples, problems = [], [], []
    for metric in results.metrics:
        own = chosen[chosen[metric.column(split)].notna()]
        if replicated.empty and not own.empty:
            own = _best_configuration(own, metric.column(split), metric.higher_is_better)
        sample = own[metric.column(split)].to_numpy(dtype=np.float64)
        mean = float(sample.mean()) if sample.size else np.nan
        if mean == 0.0:
            problems.append(
                f"The single-task value of {metric.task} {metric.name} is zero: no relative drop."
            )
            mean = np.nan
        elif np.isnan(mean):
            problems.append(
                f"No finished single-task baseline gives {metric.task} {metric.name} on {split}."
            )
        means.append(mean)
        samples.append(sample)
    return Reference(np.asarray(means), tuple(samples), tuple(problems))


def score(
    results: Results,
    trials: pd.DataFrame,
    split: str = "test",
    reference: Reference | None = None,
    equal_weighting: measures.Floats | None = None,
) -> pd.DataFrame:
    """Measures of each trial.

    Args:
        results: The folder the trials are from.
        trials: Rows of `Results.trials`; usually finished multi-task ones.
        split: ``"test"`` or ``"validation"``.
        reference: Single-task values; by default `stl_reference` on the same split.
        equal_weighting: Values of equal weighting, shape (M,); by default the mean over the
            finished replicates of equal weighting.

    Returns:
        One row for each trial: who it is, ``drop.<task>`` in percent, and a column for each of
        `MEASURES`; NaN where a metric or reference is missing.
    """
    reference = stl_reference(results, split) if reference is None else reference
    if equal_weighting is None:
        equal_weighting = equal_weighting_values(results, split)
    higher = [metric.higher_is_better for metric in results.metrics]
    task_of = [metric.task for metric in results.metrics]
    columns = [metric.column(split) for metric in results.metrics]
    values = trials[columns].to_numpy(dtype=np.float64)
    drops = measures.relative_drops(values, reference.values, higher)
    per_task = measures.mean_per_task(drops, task_of).T
    found = {f"drop.{task}": drop for task, drop in zip(results.tasks, per_task, strict=True)}
    from_drops = measures_of_drops(drops, task_of)
    from_drops["delta_p"] = measures.delta_p(values, equal_weighting, higher, task_of)
    found |= {name: from_drops[name] for name in MEASURES}
    found |= dict(zip(columns, values.T, strict=True))
    described = trials[DESCRIPTORS].reset_index(drop=True)
    return pd.concat([described, pd.DataFrame(found, index=described.index)], axis=1)


def measures_of_drops(drops: measures.Floats, task_of: Sequence[str]) -> dict[str, measures.Floats]:
    """Every measure that only needs the drops against single-task (all but `delta_p`).

    Args:
        drops: Relative drops in percent, shape (..., M), from `measures.relative_drops`.
        task_of: The task each metric belongs to, length M.

    Returns:
        Measures by name, each of shape (...).
    """
    per_task = measures.mean_per_task(drops, task_of)
    shares = measures.relative_performance(per_task)
    return {
        "delta_mtm": np.asarray(-per_task.mean(axis=-1)),
        "delta_m": np.asarray(drops.mean(axis=-1)),
        "delta_m_variance": np.asarray(drops.var(axis=-1)),
        "worst_drop": np.asarray(per_task.max(axis=-1)),
        "jain_index": measures.jain_index(shares),
        "gini": measures.gini(shares),
    }


def main_measure(results: Results) -> str:
    """The measure that leads a report: `delta_mtm`, or `delta_p` where no baseline gives one."""
    return "delta_p" if np.isnan(stl_reference(results).values).any() else "delta_mtm"


def final_scores(results: Results, split: str = "test") -> pd.DataFrame:
    """`score` of every finished replicate and trained fixed-weights model."""
    final = final_trials(results)
    multi_task = final[(final["status"] == "finished") & (final["phase"] != "baselines")]
    return score(results, multi_task, split)


def equal_weighting_trials(results: Results) -> pd.DataFrame:
    """Finished replicates of the first variant of linear scalarisation that weighs tasks equally.

    Replicates whose static weights were searched, so that they are not equal, do not count.
    """
    finished = results.finished
    rows = finished[
        (finished["phase"] == "replicate") & (finished["method"] == LINEAR_SCALARISATION)
    ]
    weights = rows[[column for column in rows.columns if str(column).startswith("hp.weights.")]]
    if not weights.empty:
        rows = rows[~(weights.nunique(axis=1) > 1).to_numpy()]
    return rows[rows["variant"] == rows["variant"].iloc[0]] if len(rows) else rows


def equal_weighting_variant(results: Results) -> str | None:
    """The variant whose replicates are the reference of `measures.delta_p`; None without any."""
    rows = equal_weighting_trials(results)
    return str(rows["variant"].iloc[0]) if len(rows) else None


def equal_weighting_values(results: Results, split: str = "test") -> measures.Floats:
    """Mean metrics of `equal_weighting_trials`, shape (M,); NaN without any."""
    rows = equal_weighting_trials(results)
    values = rows[[metric.column(split) for metric in results.metrics]].to_numpy(dtype=np.float64)
    if not len(values):
        return np.full(len(results.metrics), np.nan)
    means = values.mean(axis=0)
    return np.where(means == 0.0, np.nan, means)


def _best_configuration(trials: pd.DataFrame, column: str, higher_is_better: bool) -> pd.DataFrame:
    means = trials.groupby("configuration_id")[column].mean()
    best = means.idxmax() if higher_is_better else means.idxmin()
    return trials[trials["configuration_id"] == best]
