"""The data of the interactive plots, small enough for thousands of trials."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.style import MARKERS, Style, styles
from analysis.loss_view import loss_view
from analysis.objective import search_objective
from analysis.report.tables import family
from analysis.results import SPLITS, Results
from analysis.scores import equal_weighting_variant, stl_reference
from analysis.search import searches
from analysis.sweep import equal_point
from analysis.weights import moving_average, normalised_weights, study_beta, weight_columns

PHASES = ("replicate", "fixed_weights", "weight_sweep", "sensitivity", "search")
MOST_EPOCHS = 150
SIGNIFICANT = 5


def payload(results: Results) -> dict[str, Any]:
    """Points, weights and searches for the page's script; plain lists, numbers shortened."""
    trials = results.finished[results.finished["phase"].isin(PHASES)]
    names = [str(name) for name in dict.fromkeys(trials["variant"])]
    losses = loss_view(results)
    swept = set(trials.loc[trials["phase"] == "weight_sweep", "variant"]) - set(
        trials.loc[trials["phase"] != "weight_sweep", "variant"]
    )
    return {
        "variants": _variants(results, names, swept),
        "metrics": [
            {"label": metric.label, "higher": metric.higher_is_better}
            for metric in (*results.metrics, *losses.metrics)
        ],
        "main": [results.metrics.index(metric) for metric in results.main_metrics],
        "splits": list(SPLITS),
        "phases": list(PHASES),
        "reference": [
            _numbers([*stl_reference(results, split).values, *stl_reference(losses, split).values])
            for split in SPLITS
        ],
        "points": _points(results, losses, trials, names),
        "weights": _weights(results),
        "search": _searches(results),
    }


def script_json(data: Any) -> str:
    """JSON that is safe inside a script element: no "<" that could end or start one."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _variants(results: Results, names: Sequence[str], swept: set[str]) -> list[dict[str, Any]]:
    looks, equal = styles(results), equal_weighting_variant(results)
    found = []
    for name in names:
        style = looks.get(name, Style("#6B7280", "o", "-", hollow=False))
        found.append(
            {
                "name": name,
                "label": results.label(name),
                "family": "" if name in swept else family(name),
                "colour": "#6B7280" if name in swept else style.colour,
                "marker": MARKERS.index(style.marker),
                "hollow": style.hollow,
                "swept": name in swept,
                "point": equal_point(results) if name == equal else name if name in swept else "",
            }
        )
    return found


def _points(
    results: Results, losses: Results, trials: pd.DataFrame, names: Sequence[str]
) -> list[list[Any]]:
    """``[variant, phase, seed, trial, settings, values on each of SPLITS ...]`` for each trial."""
    place = {name: i for i, name in enumerate(names)}
    values = {}
    for split in SPLITS:
        own = trials[[metric.column(split) for metric in results.metrics]]
        loss = losses.trials.loc[trials.index, [metric.column(split) for metric in losses.metrics]]
        values[split] = np.hstack([own.to_numpy(np.float64), loss.to_numpy(np.float64)]).tolist()
    settings = _settings(trials)
    return [
        [
            place[str(variant)],
            PHASES.index(str(phase)),
            int(seed),
            str(trial),
            text,
            *(_numbers(values[split][i]) for split in SPLITS),
        ]
        for i, (variant, phase, seed, trial, text) in enumerate(
            zip(
                trials["variant"], trials["phase"], trials["seed"], trials["trial_id"], settings,
                strict=True,
            )
        )
    ]  # fmt: skip


def _settings(trials: pd.DataFrame) -> list[str]:
    """Hyper-parameters of each trial as text: those that vary over the folder."""
    columns = [
        str(column)
        for column in trials.columns
        if str(column).startswith(("hp.", "training.", "static_weight."))
        and trials[column].astype(str).nunique() > 1
    ]
    parts: list[list[str]] = [[] for _ in range(len(trials))]
    for column in columns:
        short = column.partition(".")[2]
        for own, value in zip(parts, trials[column].tolist(), strict=True):
            if value is None or (isinstance(value, float) and math.isnan(value)):
                continue
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            own.append(f"{short} = {text}")
    return [", ".join(own) for own in parts]


def _weights(results: Results) -> dict[str, Any]:
    table, columns = normalised_weights(results), weight_columns(results)
    series = []
    for variant, own in table.groupby("variant", sort=False):
        grouped = own.groupby("epoch")[columns]
        mean, spread = grouped.mean(), grouped.std().fillna(0.0)
        kept = np.unique(np.linspace(0, len(mean) - 1, min(len(mean), MOST_EPOCHS)).astype(int))
        smooth = moving_average(mean.to_numpy(), study_beta(results))
        series.append(
            {
                "name": str(variant),
                "label": results.label(str(variant)),
                "epochs": [int(e) for e in mean.index[kept]],
                "mean": [_numbers(column) for column in mean.to_numpy()[kept].T],
                "std": [_numbers(column) for column in spread.to_numpy()[kept].T],
                "smooth": [_numbers(column) for column in smooth[kept].T],
            }
        )
    return {"tasks": list(results.tasks), "series": series}


def _searches(results: Results) -> dict[str, Any]:
    _, label, higher = search_objective(results)
    series = []
    for tuned in searches(results):
        if tuned.name.startswith("stl:"):
            continue
        found = tuned.configurations()
        first = tuned.trials.drop_duplicates("configuration_id")
        series.append(
            {
                "name": tuned.name,
                "label": results.label(tuned.name),
                "values": _numbers(found["objective"].to_numpy(dtype=np.float64)),
                "settings": _settings(first),
            }
        )
    return {"objective": label, "higher": higher, "series": series}


def _numbers(values: Any) -> list[float | None]:
    return [
        None if not math.isfinite(value) else float(f"{value:.{SIGNIFICANT}g}") for value in values
    ]
