"""The quantity that a search optimised, for every trial."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.results import Results
from analysis.scores import MEASURE_LABELS, MEASURES, score

UNSET = "not set"
"""What a choice of no value is called."""


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


def objective_label(results: Results, name: str, *, higher_is_better: bool) -> str:
    """An objective as an axis names it: with its unit, and an arrow in the better direction."""
    metrics = {f"{metric.task}.{metric.name}": metric.label for metric in results.metrics}
    arrow = "↑" if higher_is_better else "↓"
    return (metrics | MEASURE_LABELS).get(name, f"{name} {arrow}")


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


def searched_settings(trials: pd.DataFrame, *, prefixes: tuple[str, ...]) -> pd.DataFrame:
    """The settings with one of the prefixes that vary in `trials`: numbers, and choices as text.

    A choice is a setting of which a value is no number (text, or true and false), or which is a
    single number where it is set at all; where it has no value it reads `UNSET`.
    """
    numbers = numeric_parameters(trials, prefixes=prefixes)
    found: dict[str, pd.Series] = {}
    for column in trials.columns:
        if not column.startswith(prefixes):
            continue
        switch = pd.api.types.infer_dtype(trials[column], skipna=True) == "boolean"
        if column in numbers and not switch:
            found[str(column)] = pd.to_numeric(trials[column]).astype(np.float64)
            continue
        texts = trials[column].map(_text)
        if texts.nunique() > 1:
            found[str(column)] = texts
    return pd.DataFrame(found, index=trials.index)


def is_choice(values: pd.Series) -> bool:
    """Whether a column of `searched_settings` holds choices and no numbers."""
    return not pd.api.types.is_numeric_dtype(values)


def _text(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return UNSET
    return f"{value:g}" if isinstance(value, float) else str(value)
