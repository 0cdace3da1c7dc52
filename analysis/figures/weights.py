"""Effective weights over epochs: mean and band over seeds, with their moving average."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import COLOURS, DASHES, GREY, new_figure
from analysis.results import Results
from analysis.weights import moving_average, normalised_weights, study_beta, weight_columns

CAPTION = (
    "Effective weights of each task over training, normalised to sum to 1 at every epoch. Line: "
    "mean over seeds; band: standard deviation over seeds; dotted: exponential moving average "
    "(β of the study, else 0.9) whose last value gives the extracted fixed weights. Grey: equal "
    "weights. (Figure 6 of “Uniform Loss vs. Specialized Optimization”.)"
)
COLUMNS = 3


def draw(results: Results) -> Figure | None:
    """One panel for each method with weights that move; None where there is none."""
    table = normalised_weights(results)
    columns = weight_columns(results)
    if table.empty:
        return None
    moving = [
        (str(variant), own)
        for variant, own in table.groupby("variant", sort=False)
        if own[columns].std().max() > 1e-9
    ]
    if not moving or len(columns) < 2:
        return None
    across = 2 if len(moving) == 4 else min(COLUMNS, len(moving))
    down = -(-len(moving) // across)
    figure = new_figure(max(5.2, 3.6 * across), 2.7 * down + 0.5)
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, (variant, own) in zip(axes, moving, strict=False):
        grouped = own.groupby("epoch")[columns]
        mean, spread = grouped.mean(), grouped.std().fillna(0.0)
        smooth = moving_average(mean.to_numpy(), study_beta(results))
        ax.axhline(1 / len(columns), color=GREY, lw=1)
        for k, (task, column) in enumerate(zip(results.tasks, columns, strict=True)):
            colour, dash = COLOURS[k % len(COLOURS)], DASHES[(k // len(COLOURS)) % len(DASHES)]
            centre, band = mean[column].to_numpy(), spread[column].to_numpy()
            epochs = mean.index.to_numpy(dtype=np.float64)
            ax.plot(epochs, centre, color=colour, ls=dash, lw=1.5, label=task)
            ax.fill_between(epochs, centre - band, centre + band, color=colour, alpha=0.18, lw=0)
            ax.plot(epochs, smooth[:, k], color=colour, ls=":", lw=1.5)
        ax.set_title(results.label(variant))
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for ax in axes[len(moving) :]:
        ax.set_axis_off()
    for ax in axes[max(0, len(moving) - across) : len(moving)]:
        ax.set_xlabel("epoch")
        ax.tick_params(labelbottom=True)
    for ax in axes[::across]:
        ax.set_ylabel("share of the weight")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    return figure
