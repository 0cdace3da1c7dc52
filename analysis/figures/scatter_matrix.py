"""Scatter matrix of task drops, for more tasks than pairs of panels can show."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.style import GREY, Style, new_figure, styles
from analysis.figures.trade_off import MOST_TASKS
from analysis.front import standing_points
from analysis.results import Results

CAPTION = (
    "Mean relative drop of every pair of tasks, lower and further left is better. Grey: linear "
    "scalarisation with swept weights; markers: methods."
)
LARGEST = 8


def draw(results: Results) -> Figure | None:
    """Lower triangle of panels; None for few or very many tasks or without a weight sweep."""
    tasks = results.tasks
    if not MOST_TASKS < len(tasks) <= LARGEST:
        return None
    table = standing_points(results)
    if table.empty:
        return None
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
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", bbox_to_anchor=(0.98, 0.98))
    return figure
