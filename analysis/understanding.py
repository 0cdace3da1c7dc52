"""Why methods differ: gradient similarity, losses, distance to equal weights, time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.results import Results
from analysis.scores import equal_weighting_variant, final_trials
from analysis.summary import summarise
from analysis.weights import normalised_weights, weight_columns

REPLICATES = ("replicate",)


def gradient_similarity(results: Results) -> pd.DataFrame:
    """Mean cosine of task gradients to their mean over training, where it was measured.

    Returns:
        ``variant``, ``epoch``, ``mean``, ``std`` (over seeds), ``seeds``.

    Source: "Uniform Loss vs. Specialized Optimization", Figures 3 and 7.
    """
    columns = ["variant", "epoch", "mean", "std", "seeds"]
    epochs = _replicate_epochs(results)
    if "grad_cosine" not in epochs.columns:
        return pd.DataFrame(columns=columns)
    table = epochs.dropna(subset=["grad_cosine"]).groupby(["variant", "epoch"], sort=False)
    found = table["grad_cosine"].agg(["mean", "std", "count"]).reset_index()
    return found.rename(columns={"count": "seeds"})[columns]


def similarity_and_gain(results: Results) -> dict[str, float]:
    """The point that a study adds to the link between similarity and the need for balancing.

    Returns:
        ``similarity``: mean of `gradient_similarity` over methods and epochs; ``gain``: best
        method's mean `delta_mtm` minus equal weighting's; ``spread``: standard deviation of
        `delta_mtm` over methods, all in percentage points; NaN where missing.

    Source: "Uniform Loss vs. Specialized Optimization", Figure 7: the more the task gradients
    agree, the less methods differ from equal weights.
    """
    table = gradient_similarity(results)
    summary = summarise(results)
    methods = summary[summary["kind"] == "method"].set_index("variant")["delta_mtm"].dropna()
    equal = methods.get(equal_weighting_variant(results), np.nan)
    return {
        "similarity": float(table["mean"].mean()) if len(table) else np.nan,
        "gain": float(methods.max() - equal) if len(methods) else np.nan,
        "spread": float(methods.std(ddof=1)) if len(methods) > 1 else np.nan,
    }


def loss_distribution(results: Results, split: str = "validation") -> pd.DataFrame:
    """Spread of the tasks' losses at the best epoch of each method.

    Args:
        results: A loaded folder.
        split: ``"train"`` or ``"validation"``.

    Returns:
        ``variant``, ``seeds``, ``mean``, ``std`` (population, over tasks), ``min``, ``max``: of the
        tasks' losses, averaged over seeds; and ``discrepancy``: mean absolute difference of the
        losses of two tasks. Losses of different kinds have different units: compare methods, not
        tasks.

    Source: LDC-MTL paper, Table 3 and Figure 7.
    """
    names = ["variant", "seeds", "mean", "std", "min", "max", "discrepancy"]
    columns = [f"{split}_loss.{task}" for task in results.tasks]
    epochs = _replicate_epochs(results)
    if not set(columns) <= set(epochs.columns) or epochs.empty:
        return pd.DataFrame(columns=names)
    best = results.trials.set_index("trial_id")["best_epoch"]
    at_best = epochs[epochs["epoch"] == epochs["trial_id"].map(best)].dropna(subset=columns)
    losses = at_best[columns].to_numpy(dtype=np.float64)
    table = pd.DataFrame(
        {
            "variant": at_best["variant"].to_numpy(),
            "mean": losses.mean(axis=1),
            "std": losses.std(axis=1),
            "min": losses.min(axis=1, initial=np.inf),
            "max": losses.max(axis=1, initial=-np.inf),
            "discrepancy": _mean_pairwise(losses),
        }
    )
    means = table.groupby("variant", sort=False).mean()
    means.insert(0, "seeds", table.groupby("variant", sort=False).size())
    return means.reset_index()[names]


def relative_losses(results: Results, split: str = "validation") -> pd.DataFrame:
    """Loss of each task at the best epoch, relative to the mean over methods of the same task.

    Returns:
        ``variant`` and one column for each task; means over seeds.
    """
    columns = [f"{split}_loss.{task}" for task in results.tasks]
    epochs = _replicate_epochs(results)
    if not set(columns) <= set(epochs.columns) or epochs.empty:
        return pd.DataFrame(columns=["variant", *results.tasks])
    best = results.trials.set_index("trial_id")["best_epoch"]
    at_best = epochs[epochs["epoch"] == epochs["trial_id"].map(best)].dropna(subset=columns)
    means = at_best.groupby("variant", sort=False)[columns].mean()
    means = means / means.mean()
    means.columns = pd.Index(results.tasks)
    table: pd.DataFrame = means.reset_index()
    return table


def loss_curves(results: Results, split: str = "train") -> pd.DataFrame:
    """Loss of each task over epochs, relative to its mean over methods at the first epoch.

    Returns:
        ``variant``, ``epoch``, ``<task>`` columns and ``discrepancy``: population standard
        deviation of the relative losses over tasks; means over seeds.
    """
    columns = [f"{split}_loss.{task}" for task in results.tasks]
    epochs = _replicate_epochs(results)
    if not set(columns) <= set(epochs.columns) or epochs.empty:
        return pd.DataFrame(columns=["variant", "epoch", *results.tasks, "discrepancy"])
    first = epochs.loc[epochs["epoch"] == epochs["epoch"].min(), columns].mean()
    relative = epochs[columns] / first.where(first != 0)
    relative.columns = pd.Index(results.tasks)
    relative["discrepancy"] = relative.std(axis=1, ddof=0)
    relative.insert(0, "epoch", epochs["epoch"])
    relative.insert(0, "variant", epochs["variant"])
    curves: pd.DataFrame = relative.groupby(["variant", "epoch"], sort=False).mean().reset_index()
    return curves


def distance_to_equal(results: Results) -> pd.DataFrame:
    """Mean absolute difference of normalised weights to 1/K over training.

    Returns:
        ``variant``, ``seeds``, ``distance`` (mean over epochs, tasks and seeds), ``last`` (at the
        last epoch), ``std`` (over seeds); in shares of the total weight.

    Source: "Uniform Loss vs. Specialized Optimization", Figure 2.
    """
    names = ["variant", "seeds", "distance", "last", "std"]
    weights, columns = normalised_weights(results), weight_columns(results)
    if weights.empty:
        return pd.DataFrame(columns=names)
    gaps = (weights[columns] - 1 / len(columns)).abs().mean(axis=1)
    table = weights[["trial_id", "variant", "epoch"]].assign(gap=gaps)
    trials = (
        table.sort_values("epoch")
        .groupby(["variant", "trial_id"], sort=False)["gap"]
        .agg(["mean", "last"])
    )
    grouped = trials.groupby("variant", sort=False)
    return pd.DataFrame(
        {
            "seeds": grouped.size(),
            "distance": grouped["mean"].mean(),
            "last": grouped["last"].mean(),
            "std": grouped["mean"].std(),
        }
    ).reset_index()[names]


def relative_time(results: Results) -> pd.DataFrame:
    """Seconds per epoch of each method relative to linear scalarisation.

    Returns:
        ``variant``, ``seconds`` per epoch, ``relative`` (NaN without equal weighting),
        ``solve_share``: share of the training seconds spent finding weights.

    Source: LDC-MTL paper, Figure 4.
    """
    final = final_trials(results)
    final = final[(final["status"] == "finished") & (final["phase"] == "replicate")]
    seconds = final.groupby("variant", sort=False)["seconds_per_epoch"].mean()
    table = pd.DataFrame({"seconds": seconds})
    table["relative"] = seconds / seconds.get(equal_weighting_variant(results), np.nan)
    epochs = _replicate_epochs(results)
    table["solve_share"] = np.nan
    if {"solve_seconds", "train_seconds"} <= set(epochs.columns):
        sums = epochs.groupby("variant")[["solve_seconds", "train_seconds"]].sum()
        table["solve_share"] = sums["solve_seconds"] / sums["train_seconds"].where(
            sums["train_seconds"] > 0
        )
    return table.sort_values("seconds").rename_axis("variant").reset_index()


def _replicate_epochs(results: Results) -> pd.DataFrame:
    epochs = results.epochs
    kept = epochs["phase"].isin(REPLICATES) & epochs["trial_id"].isin(results.finished["trial_id"])
    chosen: pd.DataFrame = epochs[kept]
    return chosen


def _mean_pairwise(losses: np.ndarray) -> np.ndarray:
    count = losses.shape[1]
    if count < 2:
        return np.zeros(len(losses))
    ordered = np.sort(losses, axis=1)
    place = 2.0 * np.arange(1, count + 1) - count - 1.0
    return np.asarray(2.0 * (ordered * place).sum(axis=1) / (count * (count - 1)))
