"""The summary table: one row for each method and each trained fixed-weights variant."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import measures
from analysis.planned import planned_methods, untried_methods
from analysis.results import Results
from analysis.scores import MEASURES, final_scores, final_trials

STL = "stl"
"""Row of the single-task models, which the measures compare with."""


def summarise(results: Results) -> pd.DataFrame:
    """One row for each planned method: seeds, every measure with its error, speed, what went wrong.

    Only finished replicates and fixed-weights trials are averaged, on the test split. Diverged and
    failed trials are counted beside them over all phases. Ranks compare the methods' mean metrics
    with each other (single-task and fixed-weights rows take no place): `mean_rank` with competition
    ranks, `mean_rank_metrics` with dense ranks. Methods of the manifest without any trial have a
    row with 0 seeds.

    Args:
        results: A loaded folder.

    Returns:
        Columns: ``variant``, ``method``, ``label``, ``kind`` (``single-task``, ``method``,
        ``fixed``), ``seeds``, then ``<measure>`` and ``<measure>_se`` for each of
        `scores.MEASURES` and each ``test.<task>.<metric>``, ``drop.<task>`` and its error,
        ``mean_rank`` and ``mean_rank_metrics`` with their errors, ``seconds_per_epoch`` (wall
        time), ``n_trials``, ``n_diverged``, ``n_failed``. Best `delta_mtm` first, rows without one
        last. The standard error is the sample standard deviation over seeds divided by the root of
        their number; NaN for one seed. For ranks it is that of the rank computed anew from each
        seed's metrics, over the seeds that all ranked methods share; the rank itself is of the
        means over all seeds.
    """
    metrics = [metric.column("test") for metric in results.metrics]
    measured = [*MEASURES, *(f"drop.{task}" for task in results.tasks), *metrics]
    scores = final_scores(results)
    speed = final_trials(results)
    speed = speed[speed["status"] == "finished"]
    rows = []
    for variant, method, kind, trials in _variants(results):
        own = scores[scores["variant"] == variant]
        row: dict[str, object] = {
            "variant": variant,
            "method": method,
            "label": results.label(variant),
            "kind": kind,
            "seeds": int(own["seed"].nunique()),
        }
        for column in measured:
            row[column], row[f"{column}_se"] = mean_and_error(own[column])
        row["seconds_per_epoch"] = speed.loc[
            speed["variant"] == variant, "seconds_per_epoch"
        ].mean()
        rows.append(row | _counts(trials))
    table = pd.DataFrame(rows)
    if _single_task(results).empty and not rows:
        return pd.DataFrame(columns=_columns(measured))
    if rows:
        _add_ranks(table, results, metrics, scores)
    table = pd.concat([_single_task_row(results, metrics), table], ignore_index=True)
    table = table.reindex(columns=_columns(measured))
    return table.sort_values("delta_mtm", ascending=False, kind="stable", ignore_index=True)


def mean_and_error(values: pd.Series) -> tuple[float, float]:
    """Mean and its standard error over seeds, NaN left out; the error of one value is NaN."""
    kept = values.to_numpy(dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    if not kept.size:
        return np.nan, np.nan
    error = kept.std(ddof=1) / np.sqrt(kept.size) if kept.size > 1 else np.nan
    return float(kept.mean()), float(error)


def _columns(measured: list[str]) -> list[str]:
    return [
        *("variant", "method", "label", "kind", "seeds"),
        *(name for column in measured for name in (column, f"{column}_se")),
        *("mean_rank", "mean_rank_se", "mean_rank_metrics", "mean_rank_metrics_se"),
        *("seconds_per_epoch", "n_trials", "n_diverged", "n_failed"),
    ]


def _variants(results: Results) -> list[tuple[str, str, str, pd.DataFrame]]:
    """Every variant to report, planned ones without trials last: name, method, kind, trials."""
    trials = results.trials
    found = []
    phases = {"search": "method", "replicate": "method", "fixed_weights": "fixed"}
    reported = trials[trials["phase"].isin(list(phases))]
    for variant, own in reported.groupby("variant", sort=False):
        kind = phases[str(own["phase"].iloc[-1])]
        found.append((str(variant), str(own["method"].iloc[0]), kind, own))
    planned, none = planned_methods(results), trials.iloc[:0]
    found.extend((name, planned[name], "method", none) for name in untried_methods(results))
    return found


def _single_task(results: Results) -> pd.DataFrame:
    return results.trials[results.trials["phase"] == "baselines"]


def _single_task_row(results: Results, metrics: list[str]) -> pd.DataFrame:
    trials = _single_task(results)
    if trials.empty:
        return pd.DataFrame()
    final = final_trials(results)
    final = final[(final["phase"] == "baselines") & (final["status"] == "finished")]
    row: dict[str, object] = {
        "variant": STL,
        "method": str(trials["method"].iloc[0]),
        "label": "single-task",
        "kind": "single-task",
        "seeds": int(final["seed"].nunique()),
    }
    for column in metrics:
        row[column], row[f"{column}_se"] = mean_and_error(final[column])
    if not final.empty:
        complete = final[metrics].notna().any().all()
        for name in ("delta_mtm", "delta_m", "delta_m_variance", "worst_drop", "gini"):
            row[name] = 0.0 if complete else np.nan
        row["jain_index"] = 1.0 if complete else np.nan
        row["seconds_per_epoch"] = final.groupby("variant")["seconds_per_epoch"].mean().sum()
    return pd.DataFrame([row | _counts(trials)])


def _counts(trials: pd.DataFrame) -> dict[str, object]:
    return {
        "n_trials": len(trials),
        "n_diverged": int((trials["status"] == "diverged").sum()),
        "n_failed": int((trials["status"] == "failed").sum()),
    }


def _add_ranks(
    table: pd.DataFrame, results: Results, metrics: list[str], scores: pd.DataFrame
) -> None:
    for name in ("mean_rank", "mean_rank_metrics"):
        table[name] = table[f"{name}_se"] = np.nan
    ranked = (table["kind"] == "method") & table[metrics].notna().all(axis=1)
    if not ranked.any():
        return
    higher = [metric.higher_is_better for metric in results.metrics]
    task_of = [metric.task for metric in results.metrics]
    values = table.loc[ranked, metrics].to_numpy(dtype=np.float64)
    table.loc[ranked, "mean_rank"] = measures.mean_rank(values, higher, task_of)
    table.loc[ranked, "mean_rank_metrics"] = measures.mean_rank_metrics(values, higher)
    blocks = _shared_seeds(scores, list(table.loc[ranked, "variant"]), metrics)
    if len(blocks) < 2:
        return
    for name, ranks in (
        ("mean_rank", [measures.mean_rank(block, higher, task_of) for block in blocks]),
        ("mean_rank_metrics", [measures.mean_rank_metrics(block, higher) for block in blocks]),
    ):
        table.loc[ranked, f"{name}_se"] = np.std(ranks, axis=0, ddof=1) / np.sqrt(len(blocks))


def _shared_seeds(
    scores: pd.DataFrame, variants: list[str], metrics: list[str]
) -> list[measures.Floats]:
    """Metrics of the variants, shape (N, M), for each seed on which all of them have all."""
    replicates = scores[scores["phase"] == "replicate"]
    by_seed = replicates.groupby(["seed", "variant"])[metrics].mean()
    found = []
    for seed in by_seed.index.unique("seed"):
        block = by_seed.loc[seed].reindex(variants).to_numpy(dtype=np.float64)
        if not np.isnan(block).any():
            found.append(block)
    return found
