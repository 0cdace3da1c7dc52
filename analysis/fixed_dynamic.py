"""Fixed against dynamic weights: extracted fixed weights beside their source and equal weights."""

from __future__ import annotations

import pandas as pd

from analysis.results import Results
from analysis.scores import (
    MEASURES,
    equal_weighting_variant,
    final_scores,
    final_trials,
    score,
)
from analysis.summary import mean_and_error
from analysis.sweep import sweep_split, weight_sweep


def fixed_versus_dynamic(results: Results, measure: str = "delta_mtm") -> pd.DataFrame:
    """Table 2 of "Uniform Loss vs. Specialized Optimization", one row for each source method.

    Args:
        results: A loaded folder.
        measure: A measure of `scores.MEASURES`, on the test split.

    Returns:
        Columns ``source``, ``label``, ``dynamic``, ``dynamic_se``, ``fixed``, ``fixed_se``,
        ``difference`` (fixed minus dynamic), ``equal`` (linear scalarisation with equal weights),
        ``equal_se``, ``seeds_dynamic``, ``seeds_fixed`` and ``weight.<task>`` as trained, summing
        to 1. Empty if no fixed weights were trained.
    """
    scores = final_scores(results)
    trained = final_trials(results)
    trained = trained[trained["phase"] == "fixed_weights"]
    reference = equal_weighting_variant(results)
    equal, equal_se = mean_and_error(scores.loc[scores["variant"] == reference, measure])
    rows = []
    for source, trials in trained.groupby("source_method", sort=False):
        dynamic = scores[(scores["phase"] == "replicate") & (scores["variant"] == source)]
        fixed = scores[(scores["phase"] == "fixed_weights") & (scores["source_method"] == source)]
        row: dict[str, object] = {"source": source, "label": results.label(str(source))}
        row["dynamic"], row["dynamic_se"] = mean_and_error(dynamic[measure])
        row["fixed"], row["fixed_se"] = mean_and_error(fixed[measure])
        row["equal"], row["equal_se"] = equal, equal_se
        row["seeds_dynamic"], row["seeds_fixed"] = len(dynamic), len(fixed)
        rows.append(row | trained_weights(results, trials))
    columns = [
        *("source", "label", "dynamic", "dynamic_se", "fixed", "fixed_se", "difference"),
        *("equal", "equal_se", "seeds_dynamic", "seeds_fixed"),
        *(f"weight.{task}" for task in results.tasks),
    ]
    table = pd.DataFrame(rows).reindex(columns=columns)
    table["difference"] = table["fixed"] - table["dynamic"]
    return table


def beside_sweep(results: Results, measure: str = "delta_mtm") -> pd.DataFrame:
    """Dynamic, extracted fixed and best swept weights of each source, all on one split.

    The split is the one on which the weight sweep was evaluated (`sweep.sweep_split`). The best of
    several swept points is chosen on the very values shown, which favours it.

    Args:
        results: A loaded folder.
        measure: A measure of `scores.MEASURES`.

    Returns:
        ``source``, ``label``, ``split``, ``dynamic``, ``fixed``, ``swept`` (mean of the best point)
        with ``<name>_se``, ``point`` (its variant) and ``points`` (how many were swept). Empty
        without sweep or fixed weights.
    """
    columns = ["source", "label", "split", "dynamic", "dynamic_se", "fixed", "fixed_se", "swept"]
    columns += ["swept_se", "point", "points"]
    sweep, split = weight_sweep(results), sweep_split(results)
    scores = final_scores(results, split)
    sources = scores.loc[scores["phase"] == "fixed_weights", "source_method"].unique()
    if sweep.empty or not len(sources):
        return pd.DataFrame(columns=columns)
    swept = score(results, sweep, split)
    means = swept.groupby("variant")[measure].mean().dropna()
    if means.empty:
        return pd.DataFrame(columns=columns)
    point = str(means.idxmax() if MEASURES[measure] else means.idxmin())
    best, best_se = mean_and_error(swept.loc[swept["variant"] == point, measure])
    rows = []
    for source in sources:
        row: dict[str, object] = {
            "source": source, "label": results.label(str(source)), "split": split,
            "swept": best, "swept_se": best_se, "point": point, "points": len(means),
        }  # fmt: skip
        for name, own in (
            ("dynamic", (scores["phase"] == "replicate") & (scores["variant"] == source)),
            ("fixed", (scores["phase"] == "fixed_weights") & (scores["source_method"] == source)),
        ):
            row[name], row[f"{name}_se"] = mean_and_error(scores.loc[own, measure])
        rows.append(row)
    return pd.DataFrame(rows)[columns]


def trained_weights(results: Results, trials: pd.DataFrame) -> dict[str, object]:
    """The fixed weights that trials were trained with, as shares; empty if not recorded."""
    columns = [f"weight.{task}" for task in results.tasks]
    epochs = results.epochs
    if not set(columns) <= set(epochs.columns):
        return {}
    own = epochs[epochs["trial_id"].isin(trials["trial_id"])].dropna(subset=columns)
    if own.empty:
        return {}
    mean = own[columns].mean()
    return {str(name): float(share) for name, share in (mean / mean.sum()).items()}
