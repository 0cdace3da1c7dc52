"""Bootstrap confidence intervals over seeds, with the uncertainty of the single-task baselines.

A measure compares a method with single-task models that were themselves trained with a few seeds.
Both are resampled, so that an interval does not pretend that the baseline is known exactly.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from analysis import measures
from analysis.errors import AnalysisError
from analysis.results import Results
from analysis.scores import MEASURES, Reference, final_scores, measures_of_drops, stl_reference

RESAMPLES = 2000


def bootstrap_intervals(
    results: Results,
    split: str = "test",
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Confidence interval of each measure of each method (and trained fixed weights).

    In each resample the seeds of the method and, independently, the seeds of each task's
    single-task model are drawn with replacement; the measure is the mean over the drawn seeds
    against the mean of the drawn baselines. Percentiles are widened for small samples to
    ``Phi(-sqrt(n / (n - 1)) t_(n-1))`` (expanded percentile interval); with two or three seeds that
    is the whole range of the bootstrap distribution, which still may be too narrow: read the
    number of seeds beside it.

    Args:
        results: A loaded folder.
        split: ``"test"`` or ``"validation"``.
        level: Confidence level.
        resamples: Number of resamples.
        seed: Of the random generator.

    Returns:
        ``variant``, ``measure``, ``seeds``, ``mean``, ``low``, ``high`` and ``stl_share``: the part
        of the bootstrap variance that is due to the single-task baselines, in [0, 1]. Interval and
        share are NaN for one seed.

    Raises:
        AnalysisError: `level` is not in (0, 1).

    Source: Hesterberg, "What teachers should know about the bootstrap", 2015 (expanded percentile).
    """
    if not 0.0 < level < 1.0:
        raise AnalysisError(f"A confidence level is between 0 and 1, not {level}.")
    rng = np.random.default_rng(seed)
    reference = stl_reference(results, split)
    scores = final_scores(results, split)
    columns = [metric.column(split) for metric in results.metrics]
    baselines = _resampled_baselines(results, reference, resamples, rng)
    rows = []
    for variant, own in scores.groupby("variant", sort=False):
        values = own[columns].dropna().to_numpy(dtype=np.float64)
        count = len(values)
        if not count:
            continue
        draws = values[rng.integers(count, size=(resamples, count))]
        both = _means(results, draws, baselines[:, None, :])
        fixed = _means(results, draws, reference.values)
        center = _means(results, values[None], reference.values)
        for name in MEASURES:
            if name not in center:
                continue
            low, high = expanded_percentiles(both[name], count, level)
            total, own_part = float(np.var(both[name])), float(np.var(fixed[name]))
            rows.append(
                {
                    "variant": variant,
                    "measure": name,
                    "seeds": count,
                    "mean": float(center[name][0]),
                    "low": low,
                    "high": high,
                    "stl_share": _share(total, own_part) if count > 1 else np.nan,
                }
            )
    names = ["variant", "measure", "seeds", "mean", "low", "high", "stl_share"]
    return pd.DataFrame(rows, columns=names)


def expanded_percentiles(
    samples: measures.Floats, count: int, level: float = 0.95
) -> tuple[float, float]:
    """Ends of the expanded percentile interval of a bootstrap distribution.

    Args:
        samples: Bootstrap replicates of an estimate, shape (R,).
        count: Size of the original sample.
        level: Confidence level.

    Returns:
        Low and high end; NaN for one observation or where replicates are missing.
    """
    if count < 2 or np.isnan(samples).any():
        return np.nan, np.nan
    quantile = stats.t.ppf((1 - level) / 2, count - 1) * np.sqrt(count / (count - 1))
    tail = float(stats.norm.cdf(quantile))
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def _means(
    results: Results, draws: measures.Floats, baseline: measures.Floats
) -> dict[str, measures.Floats]:
    """Mean over seeds (second axis) of each measure: draws (R, n, M) to (R,)."""
    sign = np.where([metric.higher_is_better for metric in results.metrics], -1.0, 1.0)
    drops = 100.0 * sign * (draws - baseline) / np.abs(baseline)
    found = measures_of_drops(drops, [metric.task for metric in results.metrics])
    return {name: np.asarray(values.mean(axis=1)) for name, values in found.items()}


def _resampled_baselines(
    results: Results, reference: Reference, resamples: int, rng: np.random.Generator
) -> measures.Floats:
    """Resampled single-task means, shape (R, M); the metrics of one task share their draws."""
    means = np.tile(reference.values, (resamples, 1))
    for task in results.tasks:
        places = [j for j, metric in enumerate(results.metrics) if metric.task == task]
        sizes = {reference.samples[j].size for j in places}
        if len(sizes) != 1 or 0 in sizes:
            continue
        drawn = rng.integers((size := sizes.pop()), size=(resamples, size))
        for j in places:
            if not np.isnan(reference.values[j]):
                means[:, j] = reference.samples[j][drawn].mean(axis=1)
    return means


def _share(total: float, own: float) -> float:
    return float(np.clip(1.0 - own / total, 0.0, 1.0)) if total > 0 else np.nan
