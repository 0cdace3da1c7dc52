"""Trade-off between tasks: every method over the front that a weight sweep reaches."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import pareto
from analysis.figures.style import GREY, Style, new_figure, styles
from analysis.loss_view import loss_view
from analysis.results import Metric, Results
from analysis.scores import final_trials, stl_reference
from analysis.sweep import front_trials, sweep_split, weight_sweep

CAPTION = (
    "Main metric of each pair of tasks; the better corner is marked. Grey: linear scalarisation "
    "with swept and equal weights (small: seeds, line: front of the means, hollow circles: means "
    "of weights that others dominate, band: between what the best seeds and what all seeds of the "
    "sweep reach). Markers in colour: mean of each method with its standard error; hollow: "
    "trained with the fixed weights extracted from it. Dashed: single-task."
)
LOSSES_CAPTION = (
    "As the trade-off between metrics, with the validation loss of each task at the epoch that was "
    "selected. Dashed: single-task models."
)
MOST_TASKS = 4


def draw(results: Results, split: str | None = None) -> Figure | None:
    """One panel for each pair of tasks.

    Args:
        results: A loaded folder.
        split: Split of the values; by default the one on which the weight sweep was evaluated.

    Returns:
        The figure, or None for one task, for more than four (see `parallel`), or without results.
    """
    metrics = results.main_metrics
    if not 2 <= len(metrics) <= MOST_TASKS:
        return None
    split = sweep_split(results) if split is None else split
    final = final_trials(results)
    final = final[(final["status"] == "finished") & (final["phase"] != "baselines")]
    if final.empty:
        return None
    pairs = list(combinations(metrics, 2))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = new_figure(6.8 if len(pairs) == 1 else 4.2 * columns, 4.8 if rows == 1 else 3.8 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, (ax, (x, y)) in enumerate(zip(axes, pairs, strict=False)):
        _panel(ax, results, final, x, y, split, legend=place == 0)
    for ax in axes[len(pairs) :]:
        ax.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    if len(pairs) == 1:
        figure.legend(handles, labels, loc="outside right center", fontsize=9)
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=9)
    return figure


def draw_losses(results: Results) -> Figure | None:
    """The same for validation losses; None where the epochs have none."""
    view = loss_view(results)
    columns = [metric.column("validation") for metric in view.metrics]
    final = final_trials(view)
    if final.loc[final["phase"] != "baselines", columns].isna().all(axis=None):
        return None
    return draw(view, split="validation")


def _panel(
    ax: Axes,
    results: Results,
    final: pd.DataFrame,
    x: Metric,
    y: Metric,
    split: str,
    *,
    legend: bool,
) -> None:
    _front(ax, results, x, y, split)
    for metric, line in ((x, ax.axvline), (y, ax.axhline)):
        value = stl_reference(results, split).values[results.metrics.index(metric)]
        if np.isfinite(value):
            line(value, color=GREY, lw=1, ls="--", zorder=1)
    looks = styles(results)
    for variant, own in final.groupby("variant", sort=False):
        name = str(variant)
        _method(
            ax,
            own,
            x,
            y,
            split,
            looks.get(name, Style("black", "o", "-", False)),
            results.label(name),
        )
    ax.set_xlabel(f"{x.label} ({split})")
    ax.set_ylabel(f"{y.label} ({split})")
    _mark_better_corner(ax, x, y)


def _front(ax: Axes, results: Results, x: Metric, y: Metric, split: str) -> None:
    sweep = front_trials(results)
    columns = [x.column(split), y.column(split)]
    higher = [x.higher_is_better, y.higher_is_better]
    sweep = sweep.dropna(subset=columns)
    if sweep.empty:
        return
    ax.scatter(sweep[columns[0]], sweep[columns[1]], s=7, color=GREY, alpha=0.45, lw=0, zorder=2)
    means = sweep.groupby("variant")[columns].mean()
    front = pareto.pareto_front(means, columns, higher)
    swept = weight_sweep(results).dropna(subset=columns)
    if swept["seed"].nunique() > 1:
        _band(ax, swept[columns].to_numpy(), swept["seed"].tolist(), higher)
    rest = means.drop(front.index)
    ax.scatter(
        rest[columns[0]], rest[columns[1]], s=22, facecolors="none", edgecolors=GREY, zorder=3
    )
    ax.plot(
        *front.to_numpy().T, "-o", color=GREY, ms=5, lw=1.4, zorder=3, label="LS, swept weights"
    )


def _band(ax: Axes, values: np.ndarray, seeds: list[object], higher: list[bool]) -> None:
    """Fill between the surface the best seeds reach and the one that every seed reaches."""
    surfaces = pareto.attainment(values, seeds, higher, percentiles=(0.0, 100.0))
    if surfaces["percentile"].nunique() < 2:
        return
    low, high = values.min(axis=0), values.max(axis=0)
    pad = 0.02 * (high - low)
    grid = np.linspace(low[0] - pad[0], high[0] + pad[0], 400)
    worst = low[1] - pad[1] if higher[1] else high[1] + pad[1]
    edges = [
        _staircase(surfaces[surfaces["percentile"] == p], grid, higher, worst) for p in (0.0, 100.0)
    ]
    ax.fill_between(grid, edges[0], edges[1], color=GREY, alpha=0.12, lw=0, zorder=1)


def _staircase(
    corners: pd.DataFrame, grid: np.ndarray, higher: list[bool], worst: float
) -> np.ndarray:
    """Best second objective reached at each first objective on `grid`."""
    x, y = corners[0].to_numpy()[:, None], corners[1].to_numpy()[:, None]
    reached = x >= grid if higher[0] else x <= grid
    if higher[1]:
        return np.asarray(np.where(reached, y, worst).max(axis=0))
    return np.asarray(np.where(reached, y, worst).min(axis=0))


def _method(
    ax: Axes, own: pd.DataFrame, x: Metric, y: Metric, split: str, style: Style, label: str
) -> None:
    values = own[[x.column(split), y.column(split)]].dropna().to_numpy()
    if not len(values):
        return
    mean = values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else [None, None]
    ax.errorbar(
        mean[0], mean[1], xerr=error[0], yerr=error[1], fmt=style.marker, color=style.colour,
        mfc="white" if style.hollow else style.colour, ms=8, elinewidth=1, capsize=2,
        zorder=6 if not style.hollow else 5, label=label,
    )  # fmt: skip


def _mark_better_corner(ax: Axes, x: Metric, y: Metric) -> None:
    ax.margins(0.08)
    ax.annotate(
        "better",
        (0.985 if x.higher_is_better else 0.015, 0.985 if y.higher_is_better else 0.015),
        xycoords="axes fraction",
        ha="right" if x.higher_is_better else "left",
        va="top" if y.higher_is_better else "bottom",
        fontsize=8,
        color=GREY,
        style="italic",
    )
