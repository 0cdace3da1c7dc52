"""The search: best so far, response curves, importance of hyper-parameters."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis import search
from analysis.figures.style import COLOURS, GREY, Style, logarithmic_axis, new_figure, styles
from analysis.results import Results

BEST_CAPTION = (
    "Best validation objective against the number of configurations tried, multi-task methods "
    "left, single-task models right (each task on its own metric, scaled so that 1 is its best). "
    "A method whose curve still rises was not tuned to the end."
)
RESPONSE_CAPTION = (
    "Validation objective of every configuration against each hyper-parameter that was searched; "
    "ringed: the chosen one. The worst tenth is cut off below."
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
    panels = [part for part in (table[~single], table[single]) if not part.empty]
    figure = new_figure(5.6 * len(panels) + 1.2, 3.8)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    looks = styles(results)
    for ax, part in zip(axes, panels, strict=True):
        scaled = part["name"].astype(str).str.startswith("stl:").all()
        for place, (name, own) in enumerate(part.groupby("name", sort=False)):
            style = looks.get(str(name), Style(COLOURS[place % len(COLOURS)], "o", "-", False))
            best = own["best"]
            if scaled:
                span = own["value"].max() - own["value"].min()
                best = 1.0 - (best - best.iloc[-1]).abs() / span if span > 0 else best * 0 + 1.0
            ax.step(
                own["tried"], best, where="post", color=style.colour, ls=style.dash,
                label=results.label(str(name)),
            )  # fmt: skip
        ax.set_xlabel("configurations tried")
        ax.set_ylabel("scaled objective" if scaled else f"best {part['objective'].iloc[0]}")
        if part["name"].nunique() <= MOST_NAMES:
            ax.legend(fontsize=8, loc="lower right")
        if not scaled:
            values = part["best"].to_numpy()
            ax.set_ylim(*_cut(values))
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
            ax.scatter(part["value"], part["objective"], s=10, color=colour, alpha=0.7, lw=0)
            chosen = part[part["best"]]
            ax.scatter(
                chosen["value"], chosen["objective"], s=60, facecolors="none", edgecolors="black"
            )
            if search.logarithmic(part["value"].min(), part["value"].max()):
                logarithmic_axis(ax)
            ax.set_xlabel(parameter.partition(".")[2], fontsize=9)
            ax.tick_params(labelsize=8)
        row[0].set_ylabel(results.label(str(name)), fontsize=9)
        row[0].set_ylim(*_cut(own["objective"].to_numpy()))
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


def _cut(values: np.ndarray) -> tuple[float, float]:
    """Limits that leave out the worst tenth, which would flatten everything else."""
    low, high = float(np.quantile(values, 0.1)), float(values.max())
    pad = 0.08 * (high - low) or 1.0
    return low - pad, high + pad
