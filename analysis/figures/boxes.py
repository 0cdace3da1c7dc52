"""Box plots of a measure over seeds, one box for each method."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.style import Style, new_figure, styles
from analysis.results import Results
from analysis.scores import (
    MEASURE_LABELS,
    MEASURES,
    equal_weighting_variant,
    final_scores,
)

CAPTION = (
    "Δmtm of every seed on the test split, best median left; higher is better, 0 is single-task. "
    "Red: median of linear scalarisation with equal weights. Hollow: fixed weights extracted from "
    "the method of the same colour. (Figure 1 of “Uniform Loss vs. Specialized Optimization”.)"
)


def draw(results: Results, measure: str = "delta_mtm") -> Figure | None:
    """Boxes with their seeds; None without a finished trial that has the measure.

    Without single-task baselines `delta_p` stands in for `delta_mtm`.
    """
    scores = final_scores(results)
    if scores[measure].notna().sum() == 0 and measure == "delta_mtm":
        measure = "delta_p"
    scores = scores.dropna(subset=[measure])
    if scores.empty:
        return None
    medians = scores.groupby("variant")[measure].median()
    order = medians.sort_values(ascending=not MEASURES[measure]).index.tolist()
    figure = new_figure(max(4.5, 0.75 * len(order) + 1.5), 4.4)
    ax = figure.subplots()
    looks = styles(results)
    samples = [scores.loc[scores["variant"] == name, measure].to_numpy() for name in order]
    boxes = ax.boxplot(
        samples, widths=0.55, showfliers=False, patch_artist=True,
        medianprops={"color": "black", "lw": 1.4},
    )  # fmt: skip
    for place, (name, patch, sample) in enumerate(
        zip(order, boxes["boxes"], samples, strict=True), start=1
    ):
        style = looks.get(str(name), Style("black", "o", "-", False))
        patch.set(facecolor="white" if style.hollow else style.colour, edgecolor=style.colour)
        patch.set_alpha(1.0 if style.hollow else 0.45)
        shift = np.linspace(-0.12, 0.12, len(sample)) if len(sample) > 1 else np.zeros(1)
        ax.scatter(place + shift, np.sort(sample), s=12, color=style.colour, zorder=4)
    reference = equal_weighting_variant(results)
    if reference is not None and reference in order:
        ax.axhline(medians[reference], color="#C1121F", lw=1.2, zorder=1)
    labels = [results.label(str(name)) for name in order]
    ax.set_xticks(range(1, len(order) + 1), labels)
    if len(order) > 5:
        ax.tick_params(axis="x", rotation=40)
        for text in ax.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    ax.set_ylabel(f"{MEASURE_LABELS[measure]} (test)")
    return figure
