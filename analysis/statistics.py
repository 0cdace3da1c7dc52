"""Which differences between methods are more than noise, and how many seeds a claim needs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from analysis.errors import AnalysisError
from analysis.measures import Floats
from analysis.results import Results
from analysis.scores import MEASURES, final_scores

MAX_SEEDS = 10_000


@dataclass(frozen=True)
class RankTest:
    """Friedman's test over blocks with Nemenyi's comparison of mean ranks.

    Attributes:
        mean_ranks: Mean rank of each method, best first.
        blocks: Number of blocks (seeds, or seeds of several studies).
        statistic: Friedman's chi-squared.
        p_value: Of Friedman's test.
        critical_difference: Mean ranks that differ by less are not distinguishable (Nemenyi).
        nemenyi: p-value of each pair.
        groups: Largest sets of methods within one critical difference, best first.
        alpha: Level of the critical difference.
    """

    mean_ranks: pd.Series
    blocks: int
    statistic: float
    p_value: float
    critical_difference: float
    nemenyi: pd.DataFrame
    groups: tuple[tuple[str, ...], ...]
    alpha: float


def block_table(results: Results, measure: str = "delta_mtm", split: str = "test") -> pd.DataFrame:
    """One row for each replicate seed, one column for each method, of one measure.

    Only methods with the measure on every seed that the most complete method has are kept, so that
    rows are blocks: the same seed means the same data order and initialisation.

    Raises:
        AnalysisError: `measure` is not one of `scores.MEASURES`.
    """
    if measure not in MEASURES:
        raise AnalysisError(f"Unknown measure {measure!r}; valid: {', '.join(MEASURES)}.")
    scores = final_scores(results, split)
    scores = scores[scores["phase"] == "replicate"].dropna(subset=[measure])
    if scores.empty:
        return pd.DataFrame()
    wide = scores.pivot_table(
        index="seed", columns="variant", values=measure, aggfunc="mean", sort=False
    )
    return wide.loc[:, wide.notna().all(axis=0)]


def rank_test(
    blocks: pd.DataFrame, *, higher_is_better: bool = True, alpha: float = 0.05
) -> RankTest | None:
    """Friedman's test and Nemenyi's critical difference.

    ``chi2_F = 12 N / (k (k + 1)) (sum_j R_j^2 - k (k + 1)^2 / 4)`` (with ties corrected) and
    ``CD = q_alpha sqrt(k (k + 1) / (6 N))`` with q of the studentised range over root 2.

    Args:
        blocks: One row for each of N blocks, one column for each of k methods, no value missing.
        higher_is_better: Direction of the values.
        alpha: Level of the critical difference.

    Returns:
        The test; None for fewer than three methods or two blocks, where it says nothing.

    Source: Demšar, "Statistical comparisons of classifiers over multiple data sets", 2006.
    """
    count, methods = blocks.shape
    if methods < 3 or count < 2:
        return None
    ranks = blocks.rank(axis=1, ascending=not higher_is_better)
    mean_ranks = ranks.mean().sort_values(kind="stable")
    samples = [blocks[name].to_numpy() for name in blocks.columns]
    with np.errstate(invalid="ignore"):
        statistic, p_value = stats.friedmanchisquare(*samples)
    if np.isnan(statistic):
        statistic, p_value = 0.0, 1.0
    quantile = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / np.sqrt(2)
    difference = float(quantile * np.sqrt(methods * (methods + 1) / (6 * count)))
    nemenyi = pd.DataFrame(
        posthoc_nemenyi_friedman(blocks.to_numpy()).to_numpy(),
        index=blocks.columns,
        columns=blocks.columns,
    )
    return RankTest(
        mean_ranks,
        count,
        float(statistic),
        float(p_value),
        difference,
        nemenyi,
        _groups(mean_ranks, difference),
        alpha,
    )


def paired_tests(blocks: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Paired comparison of every two methods over the same seeds, Holm-corrected.

    Args:
        blocks: One row for each seed, one column for each method, no value missing.
        alpha: Level at which a difference counts as significant after correction.

    Returns:
        One row for each pair, smallest p first: ``first``, ``second``, ``seeds``, ``difference``
        (first minus second), ``low`` and ``high`` (t interval, level 1 - alpha), ``p`` (paired t
        test), ``p_holm``, ``p_wilcoxon`` (signed ranks, exact; cannot be below 2 / 2**n),
        ``effect`` (Hedges' g of the paired differences), ``dominance`` (Cliff's delta),
        ``significant``, ``seeds_needed`` (for 80 % power at level alpha if the effect is as large
        as observed). Empty for fewer than two methods or seeds.
    """
    columns = [
        *("first", "second", "seeds", "difference", "low", "high", "p", "p_holm", "p_wilcoxon"),
        *("effect", "dominance", "significant", "seeds_needed"),
    ]
    if len(blocks) < 2 or blocks.shape[1] < 2:
        return pd.DataFrame(columns=columns)
    rows = []
    for first, second in combinations(blocks.columns, 2):
        a, b = blocks[first].to_numpy(), blocks[second].to_numpy()
        rows.append({"first": first, "second": second} | _paired(a, b, alpha))
    table = pd.DataFrame(rows)
    table["p_holm"] = multipletests(table["p"], alpha=alpha, method="holm")[1]
    table["significant"] = table["p_holm"] < alpha
    return table.sort_values("p", kind="stable", ignore_index=True)[columns]


def seeds_needed(effect: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Seeds for a paired t test to see a standardised effect with the given power.

    Args:
        effect: Mean difference over its standard deviation.
        power: Wanted power.
        alpha: Level, two-sided.

    Returns:
        Whole number of seeds, at least 2; infinite where more than 10,000 would be needed.
    """
    size = min(abs(effect), 20.0)
    if np.isnan(size):
        return np.nan
    if size < 0.02:
        return np.inf
    low, high = 1, 2
    while high <= MAX_SEEDS and _power(size, high, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _power(size, middle, alpha) < power else (low, middle)
    return float(high) if high <= MAX_SEEDS else np.inf


def detectable_effect(seeds: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest standardised effect that a paired t test with this many seeds sees at `power`."""
    if seeds < 2:
        return np.inf
    reached = optimize.brentq(lambda d: _power(d, seeds, alpha) - power, 1e-3, 100.0)
    return float(reached)


def cliffs_delta(first: ArrayLike, second: ArrayLike) -> float:
    """Cliff's delta: P(first > second) - P(first < second) over all pairs, in [-1, 1]."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return float(np.sign(a[:, None] - b[None, :]).mean())


def _power(effect: float, seeds: int, alpha: float) -> float:
    """Power of a paired t test; the library gives NaN where it is 1 to machine precision."""
    power = float(TTestPower().power(effect, seeds, alpha))
    return 1.0 if np.isnan(power) else power


def _paired(a: Floats, b: Floats, alpha: float) -> dict[str, object]:
    gaps = a - b
    count, mean, spread = len(gaps), float(gaps.mean()), float(gaps.std(ddof=1))
    if spread > 1e-12 * max(1.0, float(np.abs(a).max())):
        p = float(stats.ttest_rel(a, b).pvalue)
        half = float(stats.t.ppf(1 - alpha / 2, count - 1)) * spread / np.sqrt(count)
        raw = mean / spread
        effect = raw * (1 - 3 / (4 * (count - 1) - 1)) if count > 2 else raw
    else:
        same = abs(mean) < 1e-12
        p, half, raw = (1.0, 0.0, 0.0) if same else (0.0, 0.0, float(np.copysign(np.inf, mean)))
        effect = raw
    distinct = np.abs(gaps) > 0
    wilcoxon = float(stats.wilcoxon(gaps[distinct]).pvalue) if distinct.any() else 1.0
    return {
        "seeds": count,
        "difference": mean,
        "low": mean - half,
        "high": mean + half,
        "p": p,
        "p_wilcoxon": wilcoxon,
        "effect": effect,
        "dominance": cliffs_delta(a, b),
        "seeds_needed": seeds_needed(raw, alpha=alpha),
    }


def _groups(mean_ranks: pd.Series, difference: float) -> tuple[tuple[str, ...], ...]:
    """Maximal runs of methods, in order of rank, that span less than one critical difference."""
    names, ranks = [str(name) for name in mean_ranks.index], mean_ranks.to_numpy()
    groups: list[tuple[str, ...]] = []
    end_before = -1
    for start in range(len(names)):
        end = int(np.searchsorted(ranks, ranks[start] + difference, side="left")) - 1
        if end > start and end > end_before:
            groups.append(tuple(names[start : end + 1]))
            end_before = end
    return tuple(groups)
