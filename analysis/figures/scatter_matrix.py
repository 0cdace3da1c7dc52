"""Scatter matrix of task drops, for more tasks than pairs of panels can show."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import GREY, Style, new_figure, styles
from analysis.figures.trade_off import MOST_TASKS
from analysis.front import mean_points
from analysis.results import Results

CAPTION = (
    "Mean relative drop of every pair of tasks, lower and further left is better. Grey: linear "
    "scalarisation with swept weights; markers: methods. Of more than eight tasks the eight whose "
    "drops differ most are shown."
)
LARGEST = 8


def draw(results: Results) -> Figure | None:
    """Lower triangle of panels; None for few tasks or without results."""
    if len(results.tasks) <= MOST_TASKS:
        return None
    table = mean_points(results)
    if table.empty:
        return None
    tasks = shown_tasks(results, table)
    count = len(tasks) - 1
    side = 1.6 if count <= 6 else 1.05
    figure = new_figure(side * count + 1.2, side * count + 1.0)
    axes = figure.subplots(count, count, squeeze=False, sharex="col", sharey="row")
    looks = styles(results)
    swept = table["phase"] == "weight_sweep"
    for i in range(count):
        for j in range(count):
            ax = axes[i, j]
            if j > i:
                ax.set_axis_off()
                continue
            x, y = tasks[j], tasks[i + 1]
            ax.scatter(table.loc[swept, x], table.loc[swept, y], s=6, color=GREY, lw=0)
            for row in table[~swept].to_dict("records"):
                style = looks.get(str(row["variant"]), Style("black", "o", "-", False))
                ax.plot(
                    row[x], row[y], style.marker, color=style.colour, ms=4,
                    mfc="white" if style.hollow else style.colour,
                    label=results.label(str(row["variant"])),
                )  # fmt: skip
            ax.tick_params(labelsize=6)
            if i == count - 1:
                ax.set_xlabel(x, fontsize=8)
            if j == 0:
                ax.set_ylabel(y, fontsize=8)
    if len(tasks) < len(results.tasks):
        figure.suptitle(
            f"the {len(tasks)} of {len(results.tasks)} tasks that differ most between the points",
            fontsize=9,
        )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", bbox_to_anchor=(0.98, 0.98))
    return figure


def shown_tasks(results: Results, table: pd.DataFrame) -> list[str]:
    """At most `LARGEST` tasks, those with the largest spread of drops, in the study's order."""
    tasks = list(results.tasks)
    widest = table[tasks].std().fillna(0.0).sort_values(ascending=False, kind="stable")
    kept = set(widest.index[:LARGEST])
    return [task for task in tasks if task in kept]
