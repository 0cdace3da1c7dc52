"""The quantity that a search optimised, for every trial."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.results import Results
from analysis.scores import MEASURES, score


def search_objective(results: Results) -> tuple[pd.Series, str, bool]:
    """Validation objective of every trial, its name, and whether higher is better.

    The first of the study's ``objectives``, or its ``selection`` as recorded in the trial table (a
    loss with its sign turned); where it is missing (no baselines), the same measure, or `delta_p`,
    computed from the validation metrics.

    Args:
        results: A loaded folder.

    Returns:
        Values indexed like the trial table; NaN for trials that did not finish.
    """
    objectives = results.manifest.get("objectives") or [results.manifest.get("selection")]
    name = str(objectives[0] or "delta_mtm")
    column = f"validation.{name}"
    trials = results.trials
    finished = trials["status"] == "finished"
    if column in trials.columns and trials.loc[finished, column].notna().any():
        values = trials[column].astype(np.float64)
    elif name not in MEASURES and _recorded(trials, finished):
        # What was recorded is signed so that higher is better, whatever its name.
        values, name = trials["validation.selection"].astype(np.float64), f"−{name}"
    else:
        scores = score(results, trials, "validation").set_index(trials.index)
        if name not in MEASURES or scores.loc[finished, name].isna().all():
            name = "delta_p"
        values = scores[name].astype(np.float64)
    directions = {f"{m.task}.{m.name}": m.higher_is_better for m in results.metrics} | MEASURES
    return values.where(finished), name, directions.get(name, True)


def _recorded(trials: pd.DataFrame, finished: pd.Series) -> bool:
    column = "validation.selection"
    return column in trials.columns and bool(trials.loc[finished, column].notna().any())


def numeric_parameters(trials: pd.DataFrame, *, prefixes: tuple[str, ...]) -> list[str]:
    """Columns of numbers with one of the prefixes that take at least two values in `trials`."""
    found = []
    for column in trials.columns:
        if not column.startswith(prefixes):
            continue
        values = pd.to_numeric(trials[column], errors="coerce").dropna()
        if len(values) == trials[column].notna().sum() and values.nunique() > 1:
            found.append(str(column))
    return found
