"""Intervals of methods under each other, against zero and a stated margin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.bootstrap import bootstrap_intervals
from analysis.equivalence import MARGIN, fixed_equivalence
from analysis.figures.style import GREY, Style, new_figure, styles
from analysis.front import standing
from analysis.results import Results
from analysis.scores import MEASURE_LABELS, main_measure

STANDING_CAPTION = (
    "Distance of each method's mean point to what linear scalarisation with swept weights "
    "dominates, with its 95 % bootstrap interval over the seeds of both: right of zero it is "
    "behind what fixed weights reach, left of zero the whole front would have to improve by so "
    "many percentage points in every task to dominate it. Between the points of a coarse sweep a "
    "method may look ahead of a front that finer weights would close."
)
EQUIVALENCE_CAPTION = (
    "Fixed weights minus their dynamic source with the 90 % interval of two one-sided tests: "
    "inside the shaded margin the two are equivalent."
)
INTERVAL_CAPTION = (
    "Mean over seeds with its 95 % bootstrap interval, in which the seeds of the single-task "
    "baselines are resampled too."
)


def draw_standing(results: Results) -> Figure | None:
    """Distance to the swept front; None without a sweep."""
    table = standing(results)
    if table.empty:
        return None
    return _forest(
        results, table["variant"], table["distance"], table["low"], table["high"],
        "distance to the swept front [percentage points]", notes=table["verdict"].tolist(),
    )  # fmt: skip


def draw_equivalence(results: Results, margin: float = MARGIN) -> Figure | None:
    """Difference between fixed and dynamic weights; None without trained fixed weights."""
    measure = main_measure(results)
    table = fixed_equivalence(results, measure, margin=margin)
    if table.empty or table["difference"].isna().all():
        return None
    names = "fixed(" + table["source"].astype(str) + ")"
    return _forest(
        results, names, table["difference"], table["low"], table["high"],
        f"fixed − dynamic, {MEASURE_LABELS[measure]}", margin=margin,
        notes=table["verdict"].tolist(),
    )  # fmt: skip


def draw_intervals(results: Results) -> Figure | None:
    """Bootstrap intervals of the main measure; None for one seed or without baselines."""
    table = bootstrap_intervals(results)
    table = table[table["measure"] == "delta_mtm"].dropna(subset=["low"])
    if table.empty:
        return None
    table = table.sort_values("mean", ascending=False)
    return _forest(
        results, table["variant"], table["mean"], table["low"], table["high"],
        MEASURE_LABELS["delta_mtm"],
    )  # fmt: skip


def _forest(
    results: Results,
    variants: Sequence[object] | pd.Series,
    centres: pd.Series,
    lows: pd.Series,
    highs: pd.Series,
    label: str,
    *,
    margin: float | None = None,
    notes: Sequence[str] | None = None,
) -> Figure:
    names = [str(name) for name in variants]
    figure = new_figure(6.4, 0.34 * len(names) + 1.1)
    ax = figure.subplots()
    looks = styles(results)
    if margin is not None:
        ax.axvspan(-margin, margin, color=GREY, alpha=0.15, lw=0)
    ax.axvline(0.0, color=GREY, lw=1)
    for place, (name, centre, low, high) in enumerate(
        zip(names, centres, lows, highs, strict=True)
    ):
        style = looks.get(name, Style("black", "o", "-", False))
        y = len(names) - 1 - place
        if np.isfinite(low):
            ax.plot([low, high], [y, y], color=style.colour, lw=2, solid_capstyle="butt")
        ax.plot(
            centre, y, style.marker, color=style.colour, ms=7,
            mfc="white" if style.hollow else style.colour,
        )  # fmt: skip
        if notes is not None:
            ax.annotate(
                notes[place], (1.01, y), xycoords=("axes fraction", "data"), va="center",
                fontsize=9, annotation_clip=False,
            )  # fmt: skip
    ax.set_yticks(range(len(names)), [results.label(name) for name in reversed(names)])
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(label)
    return figure
