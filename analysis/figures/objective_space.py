"""Trajectories of methods in the plane of two objectives, before their Pareto front."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from analysis.errors import AnalysisError
from analysis.figures.style import GREY, new_figure

__all__ = ["draw_trajectories"]

_COLOURS = "plasma_r"
_LARGEST_COLUMNS = 4


def draw_trajectories(
    trajectories: Mapping[str, ArrayLike],
    front: ArrayLike,
    *,
    names: tuple[str, str] = ("L1", "L2"),
) -> Figure:
    """One panel per method: paths from black dots, light to dark with time, to stars.

    Args:
        trajectories: By title, the objectives along S paths, shape (S, T, 2).
        front: The Pareto front in order, shape (n, 2); a thick grey line.
        names: What to call the objectives.

    Returns:
        The figure; save it with :func:`analysis.figures.style.save`.

    Raises:
        AnalysisError: If there is nothing to draw, or shapes are others.
    """
    line = np.asarray(front, dtype=float)
    paths = {title: np.asarray(values, dtype=float) for title, values in trajectories.items()}
    wrong = [t for t, values in paths.items() if values.ndim != 3 or values.shape[-1] != 2]
    if not paths or wrong or line.ndim != 2 or line.shape[-1] != 2:
        raise AnalysisError(
            "a figure of trajectories needs at least one array of shape (S, T, 2) and a front of "
            f"shape (n, 2); wrong: {', '.join(wrong) or 'the front, or there is none'}"
        )
    columns = min(len(paths), _LARGEST_COLUMNS)
    rows = -(-len(paths) // columns)
    figure = new_figure(2.9 * columns + 0.4, 2.8 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax in panels.flat[len(paths) :]:
        ax.set_axis_off()
    for ax, (title, values) in zip(panels.flat, paths.items(), strict=False):
        ax.plot(line[:, 0], line[:, 1], color=GREY, lw=5, alpha=0.5, solid_capstyle="round")
        for path in values:
            pieces = np.stack([path[:-1], path[1:]], axis=1)
            ax.add_collection(
                LineCollection(
                    list(pieces), cmap=_COLOURS, array=np.linspace(0.2, 1, len(pieces)), lw=1.4,
                    clim=(0, 1),
                )
            )  # fmt: skip
            ax.plot(*path[0], "o", color="black", ms=4, zorder=3)
            ax.plot(*path[-1], "*", color="black", ms=8, zorder=3)
        ax.set_title(title)
        ax.autoscale_view()
    for ax in panels[-1]:
        ax.set_xlabel(names[0])
    for ax in panels[:, 0]:
        ax.set_ylabel(names[1])
    return figure
