"""What fixed weights reach: the weight sweep of linear scalarisation, and the split it is on."""

from __future__ import annotations

import pandas as pd

from analysis.results import Results
from analysis.scores import equal_weighting_trials


def weight_sweep(results: Results) -> pd.DataFrame:
    """Finished trials of the weight sweep, ``variant`` naming the point on the simplex."""
    finished = results.finished
    return finished[finished["phase"] == "weight_sweep"]


def front_trials(results: Results) -> pd.DataFrame:
    """The trials that say what fixed weights reach: the sweep, and the replicates of equal weights.

    Equal weights are fixed weights, so their replicates belong to the front that methods are held
    against: as further seeds of the equal point if the sweep has it, else as a point of their own.
    Without them, equal weights could lie beyond the front of fixed weights by the luck of a seed.

    Returns:
        Rows of the trial table; ``variant`` names the point and ``phase`` is ``weight_sweep``.
        Empty without a weight sweep.
    """
    sweep = weight_sweep(results)
    equal = equal_weighting_trials(results)
    if sweep.empty or equal.empty:
        return sweep
    point = equal_point(results)
    known = set(sweep.loc[sweep["variant"] == point, "seed"])
    more = equal[~equal["seed"].isin(known)]
    return pd.concat([sweep, more.assign(variant=point, phase="weight_sweep")])


def equal_point(results: Results) -> str:
    """The point of the sweep with equal weights; the variant of equal weighting if it has none."""
    sweep, equal = weight_sweep(results), equal_weighting_trials(results)
    columns = [c for c in sweep.columns if str(c).startswith("static_weight.")]
    weights = sweep[columns].dropna().astype(float)
    same = weights[(weights.max(axis=1) - weights.min(axis=1)) < 1e-9]
    if len(columns) and len(same):
        return str(sweep.loc[same.index[0], "variant"])
    return str(equal["variant"].iloc[0]) if len(equal) else ""


def sweep_split(results: Results) -> str:
    """``"test"`` if the sweep's test split was read, else ``"validation"``.

    Methods and front are only ever compared on the same split; without a sweep that is the test
    split.
    """
    sweep = weight_sweep(results)
    test = [metric.column("test") for metric in results.metrics]
    return "test" if sweep.empty or sweep[test].notna().any(axis=None) else "validation"
