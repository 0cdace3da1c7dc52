"""The search: best so far, response curves, importance of hyper-parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import search
from analysis.figures.style import (
    COLOURS,
    DASHES,
    GREY,
    Style,
    logarithmic_axis,
    new_figure,
    styles,
)
from analysis.objective import objective_label
from analysis.results import Results
from analysis.tuning_checks import searched_logarithmically

BEST_CAPTION = (
    "Best validation objective against the number of configurations tried, multi-task methods "
    "left, single-task models right (each task on its own metric, from its worst, 0, to its best, "
    "1; left out where only one configuration was tried). A method whose curve still improves at "
    "its end was not tuned to the end. The worst tenth is cut off where it would flatten the rest, "
    "but never the end of a curve."
)
RESPONSE_CAPTION = (
    "Validation objective of every configuration against each hyper-parameter that was searched, "
    "choices side by side; ringed: the chosen one. The arrow says which way is better; the worst "
    "tenth is cut off where it would flatten the rest, but never the chosen one."
)
IMPORTANCE_CAPTION = (
    "Share of the explained variation of the objective's rank that each hyper-parameter accounts "
    "for (permutation importance of a random forest); in brackets how much the forest explains of "
    "configurations that it was not fitted to."
)
MOST_ROWS = 12
MOST_NAMES = 20
"""With more curves in one panel their names would hide them."""


def draw_best_so_far(results: Results) -> Figure | None:
    """Running best of every method; None without a search."""
    table = search.best_so_far(results).dropna(subset=["best"])
    if table.empty:
        return None
    single = table["name"].astype(str).str.startswith("stl:")
    alone = table.loc[single, "tried"].max() == 1  # scaled to its best, every one would be at 1
    panels = [part for part in (table[~single], table[single & (not alone)]) if not part.empty]
    if not panels:
        return None
    figure = new_figure(6.6 * len(panels), 3.8)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    looks = styles(results)
    for ax, part in zip(axes, panels, strict=True):
        scaled = part["name"].astype(str).str.startswith("stl:").all()
        for place, (name, own) in enumerate(part.groupby("name", sort=False)):
            style = looks.get(str(name), _single_look(place))
            best = own["best"]
            if scaled:
                span = own["value"].max() - own["value"].min()
                best = 1.0 - (best - best.iloc[-1]).abs() / span if span > 0 else best * 0 + 1.0
            ax.step(
                own["tried"], best, where="post", color=style.colour, ls=style.dash,
                marker=style.marker, markevery=[len(own) - 1], ms=5, label=results.label(str(name)),
            )  # fmt: skip
        ax.set_xlabel("configurations tried")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlim(0.5, part["tried"].max() + 0.5)
        ax.set_ylabel("scaled objective" if scaled else f"best {_measure(results, part)}")
        if part["name"].nunique() <= MOST_NAMES:
            # Beside the panel: a curve may lie anywhere in it.
            ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        if scaled:
            ax.set_ylim(-0.05, 1.05)
        else:
            ends = part.groupby("name", sort=False)["best"].last()
            ax.set_ylim(*_limits(part["best"], ends, higher=bool(part["higher_is_better"].iloc[0])))
    return figure


def draw_responses(results: Results) -> Figure | None:
    """Grid of methods by parameters; None without a search."""
    table = search.response_curves(results)
    table = table[~table["name"].astype(str).str.startswith("stl:")]
    if table.empty:
        return None
    names = list(dict.fromkeys(table["name"]))[:MOST_ROWS]
    across = max(table.loc[table["name"] == name, "parameter"].nunique() for name in names)
    figure = new_figure(max(6.0, 2.7 * across), 1.9 * len(names) + 0.3)
    axes = figure.subplots(len(names), across, squeeze=False, sharey="row")
    looks = styles(results)
    for row, name in zip(axes, names, strict=True):
        own = table[table["name"] == name]
        colour = looks[str(name)].colour if str(name) in looks else "black"
        parameters = list(dict.fromkeys(own["parameter"]))
        for ax, parameter in zip(row, parameters, strict=False):
            part = own[own["parameter"] == parameter]
            values = _along(ax, results, part)
            ax.scatter(values, part["objective"], s=10, color=colour, alpha=0.7, lw=0)
            chosen = part["best"]
            ax.scatter(
                values[chosen], part.loc[chosen, "objective"],
                s=60, facecolors="none", edgecolors="black",
            )  # fmt: skip
            ax.set_xlabel(parameter.partition(".")[2], fontsize=9)
            ax.tick_params(labelsize=8)
        row[0].set_ylabel(f"{results.label(str(name))}\n{_measure(results, own)}", fontsize=9)
        higher = bool(own["higher_is_better"].iloc[0])
        limits = _limits(own["objective"], own.loc[own["best"], "objective"], higher=higher)
        row[0].set_ylim(*limits)
        for ax in row[len(parameters) :]:
            ax.set_axis_off()
    return figure


def draw_importance(results: Results) -> Figure | None:
    """Heat map of importances; None with too few configurations."""
    table = search.importance(results)
    if table.empty:
        return None
    short = table.assign(parameter=table["parameter"].str.partition(".")[2])
    wide = short.pivot_table(index="name", columns="parameter", values="importance", sort=False)
    explained = short.drop_duplicates("name").set_index("name")["explained"]
    figure = new_figure(1.0 * wide.shape[1] + 3.2, 0.36 * wide.shape[0] + 1.3)
    ax = figure.subplots()
    image = ax.imshow(wide.to_numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(wide.to_numpy()):
        if np.isfinite(value):
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8,
                    color="white" if value > 0.6 else "black")  # fmt: skip
    ax.set_xticks(range(wide.shape[1]), wide.columns, rotation=30, ha="right")
    ax.set_yticks(
        range(wide.shape[0]),
        [f"{results.label(str(n))} ({max(0.0, explained[n]):.2f})" for n in wide.index],
    )
    ax.grid(visible=False)
    ax.tick_params(length=0)
    figure.colorbar(image, ax=ax, label="importance", shrink=0.8)
    ax.patch.set(facecolor=GREY, alpha=0.12)
    return figure


def _single_look(place: int) -> Style:
    """The look of a single-task curve: dashes show it where another lies on it."""
    return Style(COLOURS[place % len(COLOURS)], "o", DASHES[place % len(DASHES)], hollow=False)


def _along(ax: Axes, results: Results, part: pd.DataFrame) -> pd.Series:
    """Where each value of one parameter lies on the x axis, which is set up for them."""
    name, parameter = str(part["name"].iloc[0]), str(part["parameter"].iloc[0])
    texts = part["value"].map(lambda value: isinstance(value, str))
    if texts.any():
        choices = sorted(part["value"].unique())
        ax.set_xticks(range(len(choices)), choices)
        ax.set_xlim(-0.5, len(choices) - 0.5)
        return part["value"].map(choices.index)
    values = part["value"].astype(np.float64)
    low, high = float(values.min()), float(values.max())
    searched = low > 0 and searched_logarithmically(results, name, parameter)
    if searched or search.logarithmic(low, high):
        logarithmic_axis(ax)
    return values


def _measure(results: Results, part: pd.DataFrame) -> str:
    """What the objective of a table of the search is, as an axis names it."""
    name = str(part["measure" if "measure" in part.columns else "objective"].iloc[0])
    higher = bool(part["higher_is_better"].iloc[0])
    return objective_label(results, name, higher_is_better=higher)


def _limits(values: pd.Series, kept: pd.Series, *, higher: bool) -> tuple[float, float]:
    """Limits that leave out the worst tenth where it would flatten the rest, but nothing `kept`.

    It would where the rest had less than half of the axis; of fewer than ten values none is left
    out.
    """
    best = values.sort_values(ascending=not higher)
    shown = pd.concat([best.iloc[: len(best) - len(best) // 10], kept])
    if np.ptp(values) <= 2 * np.ptp(shown):
        shown = values
    low, high = float(shown.min()), float(shown.max())
    pad = 0.08 * (high - low) or 1.0
    return low - pad, high + pad
