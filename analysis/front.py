"""Where each method stands against the front of swept fixed weights: ahead, on it, or behind.

Objectives are relative drops in percent, so that tasks with different units are comparable and a
distance is a number of percentage points. Seeds of the method and of the sweep are resampled: a
verdict needs the whole interval on one side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import pareto
from analysis.bootstrap import expanded_percentiles
from analysis.errors import AnalysisError
from analysis.measures import Floats, mean_per_task, relative_drops
from analysis.results import Results
from analysis.scores import (
    equal_weighting_values,
    equal_weighting_variant,
    final_trials,
    stl_reference,
)
from analysis.sweep import equal_point, front_trials, sweep_split, weight_sweep

KINDS = ("tasks", "metrics", "losses")
AHEAD, ON, BEHIND = "ahead", "on the front", "behind"


@dataclass(frozen=True)
class Objectives:
    """Objectives of a set of trials, all lower is better.

    Attributes:
        names: One name for each objective.
        values: Shape (N, M).
        unit: What a distance of 1 means.
        split: Split the values are from.
    """

    names: tuple[str, ...]
    values: Floats
    unit: str
    split: str


def objectives(results: Results, trials: pd.DataFrame, kind: str = "tasks") -> Objectives:
    """Objectives of trials in a common unit.

    Args:
        results: The folder the trials are from.
        trials: Rows of its trial table.
        kind: ``"tasks"``: mean relative drop of each task; ``"metrics"``: relative drop of each
            metric; ``"losses"``: validation loss of each task at the best epoch, relative to the
            weight sweep's mean.

    Returns:
        Drops against single-task in percent; without baselines, against equal weighting; without
        that, against the sweep's mean; NaN without any of them.

    Raises:
        AnalysisError: `kind` is not one of the three, or the epoch table has no losses for it.
    """
    if kind not in KINDS:
        raise AnalysisError(f"Unknown kind of objectives {kind!r}; valid: {', '.join(KINDS)}.")
    if kind == "losses":
        return _losses(results, trials)
    split = sweep_split(results)
    columns = [metric.column(split) for metric in results.metrics]
    sweep = weight_sweep(results)[columns].to_numpy(dtype=np.float64)
    candidates = (
        (stl_reference(results, split).values, "percentage points against single-task"),
        (equal_weighting_values(results, split), "percentage points against equal weighting"),
        (
            _means_but_zero(sweep, len(columns)),
            "percentage points against the sweep's mean",
        ),
    )
    usable = [(base, unit) for base, unit in candidates if not np.isnan(base).any()]
    nothing = np.full(len(columns), np.nan), "percentage points against nothing: no reference"
    base, unit = usable[0] if usable else nothing
    higher = [metric.higher_is_better for metric in results.metrics]
    drops = relative_drops(trials[columns].to_numpy(dtype=np.float64), base, higher)
    if kind == "metrics":
        names = tuple(f"{metric.task} {metric.name}" for metric in results.metrics)
        return Objectives(names, drops, unit, split)
    per_task = mean_per_task(drops, [metric.task for metric in results.metrics])
    return Objectives(results.tasks, per_task, unit, split)


def standing(
    results: Results,
    kind: str = "tasks",
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Distance of each method to what swept fixed weights dominate, with a verdict.

    Args:
        results: A loaded folder.
        kind: Objectives, see `objectives`.
        level: Confidence level of the interval.
        resamples: Bootstrap resamples over the seeds of the method and of every sweep point.
        seed: Of the random generator.

    Returns:
        One row for each method and fixed-weights variant: ``variant``, ``seeds``, ``distance`` of
        the mean point (see `pareto.distance_to_front`; positive is behind), ``low``, ``high``,
        ``dominates`` (sweep points whose mean it dominates), ``dominated_by``, ``verdict``: behind
        or ahead if the whole interval is on that side, else on the front; with one seed the
        verdict is the sign's and ``low``, ``high`` are NaN. Equal weights are a point of the front
        (`sweep.front_trials`) and so never ahead of it. Empty without a weight sweep.

    Source: the question is Xin et al.'s (2022); LDC-MTL paper, Figure 5 and Table 9.
    """
    columns = ["variant", "seeds", "distance", "low", "high", "dominates", "dominated_by"]
    sweep = front_trials(results)
    final = final_trials(results)
    final = final[(final["status"] == "finished") & (final["phase"] != "baselines")]
    if sweep.empty or final.empty or len(results.tasks) < 2:
        return pd.DataFrame(columns=[*columns, "verdict"])
    rng = np.random.default_rng(seed)
    points = objectives(results, sweep, kind)
    lower = [False] * len(points.names)
    complete = ~np.isnan(points.values).any(axis=1)
    names = sweep["variant"].astype(str).to_numpy()
    groups = {name: points.values[complete & (names == name)] for name in dict.fromkeys(names)}
    groups = {name: group for name, group in groups.items() if len(group)}
    if not groups:
        return pd.DataFrame(columns=[*columns, "verdict"])
    front = np.stack([group.mean(axis=0) for group in groups.values()])
    fronts = np.stack(
        [_resampled_means(group, resamples, rng) for group in groups.values()], axis=1
    )
    equal, own_point = equal_weighting_variant(results), equal_point(results)
    rows = []
    for variant, own in final.groupby("variant", sort=False):
        values = objectives(results, own, kind).values
        values = values[~np.isnan(values).any(axis=1)]
        if not len(values):
            continue
        mean, moved = values.mean(axis=0), _resampled_means(values, resamples, rng)
        if variant == equal and own_point in groups:
            # A point of the front itself: the same trials on both sides, resampled as one.
            place = list(groups).index(own_point)
            mean, moved = front[place], fronts[:, place]
        distance = float(pareto.distance_to_front(mean[None], front, lower)[0])
        # d = max_f min_j (p_j - f_j) for every resample at once: all objectives are costs.
        distances = (moved[:, None, :] - fronts).min(axis=2).max(axis=1)
        low, high = expanded_percentiles(distances, len(values), level)
        rows.append(
            {
                "variant": str(variant),
                "seeds": len(values),
                "distance": distance,
                "low": low,
                "high": high,
                "dominates": int(((mean <= front).all(axis=1) & (mean < front).any(axis=1)).sum()),
                "dominated_by": int(
                    ((front <= mean).all(axis=1) & (front < mean).any(axis=1)).sum()
                ),
                "verdict": _verdict(distance, low, high),
            }
        )
    table = pd.DataFrame(rows, columns=[*columns, "verdict"])
    return table.sort_values("distance", kind="stable", ignore_index=True)


def hypervolumes(results: Results, kind: str = "tasks") -> pd.DataFrame:
    """Hypervolume of the swept front, alone and with each method's mean point added.

    Args:
        results: A loaded folder.
        kind: Objectives, see `objectives`.

    Returns:
        ``variant`` (``"weight sweep"`` for the front alone), ``hypervolume`` as a share of the box
        between the ideal and the reference point, and ``gain``: what the method's point adds.
        With more than `pareto.EXACT_OBJECTIVES` objectives both are estimates. Empty without a
        sweep or with more than `pareto.MOST_OBJECTIVES` objectives.
    """
    columns = ["variant", "hypervolume", "gain"]
    table = standing_points(results, kind)
    if table.empty or len(table.columns) - 2 > pareto.MOST_OBJECTIVES:
        return pd.DataFrame(columns=columns)
    names = [name for name in table.columns if name not in ("variant", "phase")]
    costs = table[names].to_numpy()
    lower = [False] * len(names)
    reference = pareto.reference_point(costs, lower)
    box = float(np.prod(reference - costs.min(axis=0)))
    front = costs[(table["phase"] == "weight_sweep").to_numpy()]
    alone = pareto.hypervolume(front, reference, lower) / box
    rows: list[dict[str, object]] = [{"variant": "weight sweep", "hypervolume": alone, "gain": 0.0}]
    for place in np.flatnonzero((table["phase"] != "weight_sweep").to_numpy()):
        beaten = (front <= costs[place]).all(axis=1).any()
        points = np.vstack([front, costs[place]])
        both = alone if beaten else pareto.hypervolume(points, reference, lower) / box
        rows.append(
            {"variant": table["variant"].iloc[place], "hypervolume": both, "gain": both - alone}
        )
    return pd.DataFrame(rows, columns=columns)


def standing_points(results: Results, kind: str = "tasks") -> pd.DataFrame:
    """Mean objectives of each sweep point and method: ``variant``, ``phase``, objectives.

    Empty without a weight sweep.
    """
    if weight_sweep(results).empty:
        return pd.DataFrame(columns=["variant", "phase"])
    return mean_points(results, kind)


def mean_points(results: Results, kind: str = "tasks") -> pd.DataFrame:
    """As `standing_points`, but of the methods alone where no weights were swept.

    Equal weights stand where the front has them, with the seeds of both.
    """
    final = final_trials(results)
    final = final[(final["status"] == "finished") & (final["phase"] != "baselines")]
    trials = pd.concat([front_trials(results), final])
    found = objectives(results, trials, kind)
    table = pd.DataFrame(found.values, columns=list(found.names))
    table.insert(0, "phase", trials["phase"].to_numpy())
    table.insert(0, "variant", trials["variant"].to_numpy())
    means = table.groupby(["variant", "phase"], sort=False).mean()
    found_means = means.reset_index()
    point = found_means[
        (found_means["variant"] == equal_point(results)) & (found_means["phase"] == "weight_sweep")
    ]
    equal = (found_means["variant"] == equal_weighting_variant(results)) & (
        found_means["phase"] == "replicate"
    )
    if len(point) and equal.any():
        found_means.loc[equal, list(found.names)] = point[list(found.names)].to_numpy()
    return found_means.dropna().reset_index(drop=True)


def _means_but_zero(values: Floats, count: int) -> Floats:
    means = values.mean(axis=0) if len(values) else np.full(count, np.nan)
    return np.asarray(np.where(means == 0.0, np.nan, means))


def _losses(results: Results, trials: pd.DataFrame) -> Objectives:
    columns = [f"validation_loss.{task}" for task in results.tasks]
    epochs = results.epochs
    if not set(columns) <= set(epochs.columns):
        raise AnalysisError("The epoch table has no validation losses.")
    best = results.trials[["trial_id", "best_epoch"]].dropna()
    rows = epochs.merge(best, on="trial_id")
    rows = rows[rows["epoch"] == rows["best_epoch"]].set_index("trial_id")[columns]
    swept = rows.reindex(weight_sweep(results)["trial_id"]).to_numpy(dtype=np.float64)
    values = rows.reindex(trials["trial_id"]).to_numpy(dtype=np.float64)
    known = swept if len(swept) else values
    count = (~np.isnan(known)).sum(axis=0)
    base = np.where(count > 0, np.nansum(known, axis=0) / np.maximum(count, 1), np.nan)
    return Objectives(
        results.tasks,
        relative_drops(values, base, [False] * len(columns)),
        "percentage points of loss against the sweep's mean",
        "validation",
    )


def _resampled_means(values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    drawn = rng.integers(len(values), size=(resamples, len(values)))
    return np.asarray(values[drawn].mean(axis=1))


def _verdict(distance: float, low: float, high: float) -> str:
    if np.isnan(low):
        low = high = distance
    if low > 0:
        return BEHIND
    return AHEAD if high < 0 else ON
