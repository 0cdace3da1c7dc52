"""Whether the search was fair: equal budgets, and no optimum cut off by a range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.objective import is_choice
from analysis.results import Results
from analysis.search import (
    FEWEST_CONFIGURATIONS,
    PREFIXES,
    logarithmic,
    searches,
    varied_parameters,
)

BORDER = 0.02
"""A best value within this share of a range's length from its end counts as on the border."""


@dataclass(frozen=True)
class _Searched:
    """What was searched: a range, or a list of values, sorted."""

    low: float
    high: float
    choices: tuple[float, ...] = ()
    log: bool = False


def unequal_budgets(results: Results, tolerance: float = 0.1) -> str | None:
    """A sentence if methods were not searched with the same number of configurations.

    Args:
        results: A loaded folder.
        tolerance: Relative difference between the fewest and the most that is not worth a warning.
    """
    budgets = results.manifest.get("budgets")
    if isinstance(budgets, Mapping) and budgets.get("seconds"):
        return None  # equal seconds: cheap methods try more configurations
    if not any(str(column).startswith(PREFIXES) for column in results.trials.columns):
        return None  # recovered from epochs, which do not say what a configuration was
    spent = {tuned.name: len(tuned.configurations()) for tuned in searches(results)}
    if len(spent) < 2:
        return None
    fewest, most = min(spent, key=spent.__getitem__), max(spent, key=spent.__getitem__)
    if spent[most] <= (1 + tolerance) * spent[fewest]:
        return None
    return (
        f"The search budgets were unequal: {spent[most]} configurations of {results.label(most)}, "
        f"{spent[fewest]} of {results.label(fewest)}."
    )


def border_values(results: Results) -> pd.DataFrame:
    """Best values that sit on the border of their search range: the optimum may lie outside.

    Of numbers only: a choice among names has no ends.

    Ranges are those of the study as run, else the ones the manifest recommends for a method's
    hyper-parameters; where neither says, the range that was tried, if at least
    `FEWEST_CONFIGURATIONS` different values were.

    Returns:
        ``name``, ``parameter``, ``value``, ``low``, ``high``, ``side``, ``recorded``, ``choices``:
        the values searched, sorted, where it was a list and no range; empty otherwise.
    """
    rows = []
    for tuned in searches(results):
        found = tuned.configurations()
        chosen = found[found["configuration_id"] == tuned.best()]
        if chosen.empty:
            continue
        for parameter in varied_parameters(found):
            if is_choice(found[parameter]):
                continue
            values = found[parameter].dropna().astype(np.float64)
            searched = _recorded(results, tuned.name, parameter)
            recorded = searched is not None
            if searched is None:
                if values.nunique() < FEWEST_CONFIGURATIONS:
                    continue
                searched = _Searched(float(values.min()), float(values.max()))
            value = float(chosen[parameter].iloc[0])
            side = _side(value, searched.low, searched.high)
            if side:
                rows.append(
                    {
                        "name": tuned.name,
                        "parameter": parameter.partition(".")[2],
                        "value": value,
                        "low": searched.low,
                        "high": searched.high,
                        "side": side,
                        "recorded": recorded,
                        "choices": searched.choices,
                    }
                )
    columns = ["name", "parameter", "value", "low", "high", "side", "recorded", "choices"]
    return pd.DataFrame(rows, columns=columns)


def searched_logarithmically(results: Results, name: str, parameter: str) -> bool:
    """Whether a parameter of a method was searched on a log scale."""
    searched = _recorded(results, name, parameter)
    return searched is not None and searched.log


def _side(value: float, low: float, high: float) -> str:
    if not high > low:
        return ""
    if logarithmic(low, high) and value > 0:
        value, low, high = float(np.log(value)), float(np.log(low)), float(np.log(high))
    share = (value - low) / (high - low)
    # Zero is the natural end of dropout, decay and the like: nothing lies beyond it.
    if share <= BORDER and not (low == 0.0 and value == 0.0):
        return "low"
    return "high" if share >= 1 - BORDER else ""


def _recorded(results: Results, name: str, parameter: str) -> _Searched | None:
    """What was searched of a parameter: by the study, or as its manifest says."""
    kind, _, short = parameter.partition(".")
    if kind == "training":
        return _searched(_entry(results.study.get("search_space"), short))
    chosen = [
        method
        for method in results.study.get("methods") or []
        if isinstance(method, Mapping) and name in (method.get("label"), method.get("name"))
    ]
    for method in chosen:
        found = _searched(_entry(method, short))
        if found is not None:
            return found
    described = _entry(results.manifest.get("methods"), name)
    for entry in _entry(described, "hyperparameters") or []:
        if isinstance(entry, Mapping) and entry.get("name") == short:
            return _searched(entry.get("study"))
    return None


def _entry(mapping: Any, key: str) -> Any:
    return mapping.get(key) if isinstance(mapping, Mapping) else None


def _searched(setting: Any) -> _Searched | None:
    """``{low, high}`` or a list of values; None for anything else, or for what is no number."""
    ranged = isinstance(setting, Mapping)
    values = [setting.get("low"), setting.get("high")] if ranged else setting
    if not isinstance(values, (list, tuple)) or len(values) < 2:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return None
    ordered = sorted(float(v) for v in values)
    log = ranged and setting.get("log") is True
    return _Searched(ordered[0], ordered[-1], () if ranged else tuple(ordered), log)
