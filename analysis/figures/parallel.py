"""Parallel coordinates: the drop of every task for every method, for any number of tasks."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.style import GREY, Style, new_figure, styles
from analysis.front import objectives
from analysis.results import Results
from analysis.scores import final_trials
from analysis.sweep import front_trials

CAPTION = (
    "Mean relative drop of each task, lower is better, 0 (dashed) is the reference. Grey: linear "
    "scalarisation with swept weights. A line that lies below another everywhere dominates it."
)


def draw(results: Results) -> Figure | None:
    """One line for each method; None for fewer than three tasks or without results."""
    final = final_trials(results)
    final = final[(final["status"] == "finished") & (final["phase"] != "baselines")]
    if len(results.tasks) < 3 or final.empty:
        return None
    found = objectives(results, final)
    if np.isnan(found.values).all():
        return None
    tasks = results.tasks
    figure = new_figure(max(6.4, 0.75 * len(tasks) + 2.5), 4.4)
    ax = figure.subplots()
    places = np.arange(len(tasks))
    sweep = front_trials(results)
    if not sweep.empty:
        swept = objectives(results, sweep).values
        variants = sweep["variant"].to_numpy()
        for number, variant in enumerate(dict.fromkeys(variants)):
            mean = swept[variants == variant].mean(axis=0)
            ax.plot(
                places, mean, color=GREY, lw=0.8, alpha=0.5,
                label="LS, swept weights" if number == 0 else None,
            )  # fmt: skip
    looks = styles(results)
    variants = final["variant"].to_numpy()
    for variant in dict.fromkeys(variants):
        style = looks.get(str(variant), Style("black", "o", "-", False))
        mean = found.values[variants == variant].mean(axis=0)
        ax.plot(
            places, mean, color=style.colour, marker=style.marker, ms=6, lw=1.6,
            ls=":" if style.hollow else style.dash, mfc="white" if style.hollow else style.colour,
            label=results.label(str(variant)),
        )  # fmt: skip
    ax.axhline(0.0, color=GREY, ls="--", lw=1)
    ax.set_xticks(places, tasks)
    if len(tasks) > 8:
        ax.tick_params(axis="x", rotation=45)
    ax.set_ylabel(f"drop ({found.split})\n[{found.unit}]")
    figure.legend(loc="outside right center", fontsize=9)
    return figure
