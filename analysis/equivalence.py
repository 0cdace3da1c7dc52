"""Equivalence of fixed and dynamic weights: two one-sided tests, not a missing significance.

"No significant difference" may only mean too few seeds. Two one-sided tests (TOST) ask the right
question: is the difference shown to be smaller than a margin that is stated beforehand?
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from analysis.errors import AnalysisError
from analysis.fixed_dynamic import fixed_versus_dynamic
from analysis.results import Results
from analysis.scores import MEASURES, final_scores
from analysis.wording import number

MARGIN = 1.0
"""Default margin: one percentage point of `delta_mtm`."""

EQUIVALENT, BETTER, WORSE, OPEN = "equivalent", "better", "worse", "undecided"


def tost(
    first: ArrayLike, second: ArrayLike, margin: float, alpha: float = 0.05
) -> dict[str, float]:
    """Two one-sided Welch tests of |mean(first) - mean(second)| < margin.

    Args:
        first: Observations, shape (n,).
        second: Observations, shape (m,).
        margin: Largest difference that still counts as the same, in the observations' unit.
        alpha: Level of each one-sided test.

    Returns:
        ``difference``, ``low``, ``high`` (interval of level 1 - 2 alpha: inside (-margin, margin)
        exactly if the tests reject), ``p_equivalence`` (the larger of the two one-sided p),
        ``p_difference`` (Welch's two-sided test). NaN beyond the difference with fewer than two
        observations on a side.

    Raises:
        AnalysisError: The margin is not positive.

    Source: Schuirmann, 1987; Lakens, "Equivalence tests", 2017.
    """
    if margin <= 0:
        raise AnalysisError(f"An equivalence margin is positive, not {margin}.")
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    difference = float(a.mean() - b.mean()) if a.size and b.size else np.nan
    unknown = {"low": np.nan, "high": np.nan, "p_equivalence": np.nan, "p_difference": np.nan}
    if min(a.size, b.size) < 2:
        return {"difference": difference} | unknown
    va, vb = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    error = float(np.sqrt(va + vb))
    if error == 0.0:
        inside = float(abs(difference) >= margin)
        same = float(difference == 0.0)
        return {
            "difference": difference,
            "low": difference,
            "high": difference,
            "p_equivalence": inside,
            "p_difference": same,
        }
    freedom = (va + vb) ** 2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1))
    below = float(stats.t.sf((difference + margin) / error, freedom))
    above = float(stats.t.cdf((difference - margin) / error, freedom))
    half = float(stats.t.ppf(1 - alpha, freedom)) * error
    return {
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "p_equivalence": max(below, above),
        "p_difference": float(2 * stats.t.sf(abs(difference) / error, freedom)),
    }


def fixed_equivalence(
    results: Results,
    measure: str = "delta_mtm",
    *,
    margin: float = MARGIN,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Whether fixed weights do as well as their dynamic source, one row for each source.

    Args:
        results: A loaded folder.
        measure: A measure of `scores.MEASURES`, on the test split.
        margin: Stated margin in the measure's unit.
        alpha: Level of each one-sided test.

    Returns:
        The columns of `fixed_versus_dynamic`, of `tost` (fixed against dynamic), ``margin``,
        ``verdict`` and ``sentence``. The verdict is equivalent (the interval lies within the
        margin), better or worse (of fixed; the interval lies on one side of zero and reaches
        beyond the margin), or undecided.
    """
    table = fixed_versus_dynamic(results, measure)
    scores = final_scores(results)
    rows = []
    for row in table.to_dict("records"):
        source = row["source"]
        fixed = scores[(scores["phase"] == "fixed_weights") & (scores["source_method"] == source)]
        dynamic = scores[(scores["phase"] == "replicate") & (scores["variant"] == source)]
        found = tost(
            fixed[measure].dropna().to_numpy(), dynamic[measure].dropna().to_numpy(), margin, alpha
        )
        verdict = _verdict(found, margin, higher_is_better=MEASURES[measure])
        sentence = _sentence(str(row["label"]), verdict, found, margin, alpha, measure)
        rows.append(row | found | {"margin": margin, "verdict": verdict, "sentence": sentence})
    return pd.DataFrame(rows)


def _verdict(found: dict[str, float], margin: float, *, higher_is_better: bool) -> str:
    low, high = found["low"], found["high"]
    if np.isnan(low):
        return OPEN
    if -margin < low and high < margin:
        return EQUIVALENT
    if low > 0 or high < 0:
        return BETTER if (low > 0) == higher_is_better else WORSE
    return OPEN


def _sentence(
    label: str, verdict: str, found: dict[str, float], margin: float, alpha: float, measure: str
) -> str:
    said = {
        EQUIVALENT: f"Fixed weights from {label} do as well as {label} itself",
        BETTER: f"Fixed weights from {label} do better than {label} itself",
        WORSE: f"Fixed weights from {label} do worse than {label} itself",
        OPEN: f"Whether fixed weights from {label} do as well as {label} itself stays open",
    }[verdict]
    name = {"delta_mtm": "Δmtm", "delta_p": "Δp"}.get(measure, measure)
    if np.isnan(found["difference"]):
        return f"{said}: one of the two has no value on the test split."
    by, low, high = (number(found[key], 2, sign=True) for key in ("difference", "low", "high"))
    if np.isnan(found["low"]):
        return f"{said}: {name} differs by {by}, with one seed only."
    level = round(100 * (1 - 2 * alpha))
    return (
        f"{said}: {name} differs by {by} ({level} % interval {low} to {high}; margin ±{margin:g}, "
        f"p = {found['p_equivalence']:.3f} for equivalence)."
    )
