"""Critical-difference diagram: mean ranks, and which of them cannot be told apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import GREY, Style, new_figure, styles
from analysis.results import Results
from analysis.scores import MEASURES, main_measure
from analysis.statistics import RankTest, block_table, rank_test

CAPTION = (
    "Mean rank of each method over seeds, best left. Bars join methods whose mean ranks differ by "
    "less than the critical difference (CD) of Nemenyi's test at level 0.05."
)


def draw(results: Results) -> Figure | None:
    """The diagram over the seeds of one study; None where the test says nothing."""
    measure = main_measure(results)
    test = rank_test(block_table(results, measure), higher_is_better=MEASURES[measure])
    if test is None:
        return None
    labels = pd.Series({name: results.label(str(name)) for name in test.mean_ranks.index})
    return diagram(test, labels, styles(results))


def diagram(test: RankTest, labels: pd.Series, looks: dict[str, Style] | None = None) -> Figure:
    """Draw a rank test.

    Args:
        test: From `statistics.rank_test`.
        labels: Label of each method.
        looks: Style of each method; black where missing.

    Returns:
        The figure.
    """
    looks = looks or {}
    ranks = test.mean_ranks
    count = len(ranks)
    half = -(-count // 2)
    bars = len(test.groups)
    figure = new_figure(6.8, 0.32 * half + 0.16 * bars + 1.2)
    ax = figure.subplots()
    depth = 0.5 * bars + 0.8
    ax.set_xlim(1 - 0.35 * (count - 1), count + 0.35 * (count - 1))
    ax.set_ylim(-(depth + half), 1.6)
    ax.set_axis_off()
    ax.plot([1, count], [0, 0], color="black", lw=1.2)
    for tick in range(1, count + 1):
        ax.plot([tick, tick], [0, 0.18], color="black", lw=1)
        ax.text(tick, 0.28, str(tick), ha="center", va="bottom", fontsize=9)
    ax.plot([1, 1 + min(test.critical_difference, count - 1)], [1.1, 1.1], color="black", lw=2)
    ax.text(
        1, 1.2, f"CD = {test.critical_difference:.2f}  ({test.blocks} blocks, Friedman "
        f"p = {test.p_value:.3g})", va="bottom", fontsize=9,
    )  # fmt: skip
    for place, (name, rank) in enumerate(ranks.items()):
        left = place < half
        row = place if left else count - 1 - place
        y = -(depth + row)
        end = 1 - 0.06 * count if left else count + 0.06 * count
        colour = looks[str(name)].colour if str(name) in looks else "black"
        ax.plot([rank, rank, end], [0, y, y], color=colour, lw=1.1)
        ax.text(
            end, y, f" {labels[str(name)]} ({rank:.2f}) ", fontsize=9, va="center",
            ha="right" if left else "left",
        )  # fmt: skip
    for number, group in enumerate(test.groups):
        inside = np.array([ranks[name] for name in group])
        y = -(0.45 + 0.5 * number)
        ax.plot(
            [inside.min() - 0.04, inside.max() + 0.04], [y, y], color=GREY, lw=4,
            solid_capstyle="round",
        )  # fmt: skip
    return figure
