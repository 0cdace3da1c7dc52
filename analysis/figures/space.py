"""Three tasks as a space: the swept front and every method, seen from two sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import GREY, Style, new_figure, styles
from analysis.front import mean_points, objectives
from analysis.pareto import nondominated
from analysis.results import Results
from analysis.scores import final_trials

CAPTION = (
    "Mean relative drop of each of the three tasks, seen from two sides; lower is better on every "
    "axis, and single-task models stand at 0. Grey: linear "
    "scalarisation with swept weights, filled where no other swept point dominates it. A stem "
    "leads from each mark to the floor. The interactive plot of the report can be turned."
)
VIEWS = ((22, -58), (22, 32))
"""Elevation and azimuth of the two panels, in degrees."""


def draw(results: Results) -> Figure | None:
    """Two views; None unless there are three tasks and results."""
    if len(results.tasks) != 3:
        return None
    table = mean_points(results)
    if table.empty:
        return None
    found = objectives(results, final_trials(results))
    values = table[list(results.tasks)].to_numpy(dtype=np.float64)
    figure = new_figure(10.5, 5.0)
    looks = styles(results)
    for place, (elevation, azimuth) in enumerate(VIEWS):
        ax: Any = figure.add_subplot(1, 2, place + 1, projection="3d")
        ax.view_init(elevation, azimuth)
        _panel(ax, results, table, values, looks)
        ax.set_xlabel(f"{results.tasks[0]} drop [%]")
        ax.set_ylabel(f"{results.tasks[1]} drop [%]")
        ax.set_zlabel(f"{results.tasks[2]} drop [%]")
        ax.tick_params(labelsize=8)
    figure.suptitle(f"({found.split}; {found.unit})", fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9)
    return figure


def _panel(
    ax: Any, results: Results, table: pd.DataFrame, values: np.ndarray, looks: dict[str, Style]
) -> None:
    floor = float(values[:, 2].min() - 0.08 * max(np.ptp(values[:, 2]), 1.0))
    ax.set_zlim(floor, float(values[:, 2].max() + 0.05 * max(np.ptp(values[:, 2]), 1.0)))
    swept = (table["phase"] == "weight_sweep").to_numpy()
    if swept.any():
        points = values[swept]
        front = nondominated(points, [False, False, False])
        for chosen, face in ((front, GREY), (~front, "none")):
            ax.scatter(
                *points[chosen].T, s=14, facecolors=face, edgecolors=GREY, linewidths=0.7,
                depthshade=False, label="LS, swept weights" if face == GREY else None,
            )  # fmt: skip
    for name, point in zip(table.loc[~swept, "variant"], values[~swept], strict=True):
        style = looks.get(str(name), Style("black", "o", "-", False))
        ax.plot(*np.column_stack([point, [*point[:2], floor]]), color=style.colour, lw=0.8)
        ax.plot(
            *[[v] for v in point], style.marker, color=style.colour, ms=7,
            mfc="white" if style.hollow else style.colour, label=results.label(str(name)),
        )  # fmt: skip
