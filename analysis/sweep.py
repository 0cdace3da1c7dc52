"""The weight sweep of linear scalarisation: its trials, and the split it can be compared on."""

from __future__ import annotations

import pandas as pd

from analysis.results import Results


def weight_sweep(results: Results) -> pd.DataFrame:
    """Finished trials of the weight sweep, ``variant`` naming the point on the simplex."""
    finished = results.finished
    return finished[finished["phase"] == "weight_sweep"]


def sweep_split(results: Results) -> str:
    """``"test"`` if the sweep's test split was read, else ``"validation"``.

    Methods and front are only ever compared on the same split; without a sweep that is the test
    split.
    """
    sweep = weight_sweep(results)
    test = [metric.column("test") for metric in results.metrics]
    return "test" if sweep.empty or sweep[test].notna().any(axis=None) else "validation"
