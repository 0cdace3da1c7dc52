"""Performance and fairness against a method's own hyper-parameter."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.fairness import CONTROLLED, fairness_sweep
from analysis.figures.style import COLOURS, GREY, logarithmic_axis, new_figure
from analysis.results import Results
from analysis.scores import MEASURE_LABELS

CAPTION = (
    "Left: mean drop and drop of the worst task against the hyper-parameter. Middle: variance of "
    "the drops. Right: the fairness–performance front over its values (numbers); filled points are "
    "not dominated. Joined points: trials in which only this hyper-parameter varies, or replicates "
    "tuned anew at each value; points without a line: search trials, in which everything varies. "
    "(Table 5 of the FairGrad paper as "
    "a figure.)"
)
MOST_ROWS = 6


def draw(results: Results) -> Figure | None:
    """One row of panels for each method and hyper-parameter; controlled sweeps first."""
    sweep = fairness_sweep(results).dropna(subset=["delta_m"])
    if sweep.empty:
        return None
    groups = sorted(
        (group for _, group in sweep.groupby(["method", "variant", "parameter"], sort=False)),
        key=lambda group: group["source"].iloc[0] not in CONTROLLED,
    )[:MOST_ROWS]
    groups = [group for group in groups if len(group) >= 3]
    if not groups:
        return None
    figure = new_figure(10.5, 2.6 * len(groups) + 0.4)
    axes = figure.subplots(len(groups), 3, squeeze=False)
    for row, group in zip(axes, groups, strict=True):
        _row(row, group.sort_values("value"), results)
    # Above the panels: a point may lie anywhere in them.
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=9)
    return figure


def _row(axes: list[Axes], group: pd.DataFrame, results: Results) -> None:
    left, middle, right = axes
    controlled = group["source"].iloc[0] in CONTROLLED
    values = group["value"]
    name = f"{results.label(str(group['variant'].iloc[0]))}: {group['parameter'].iloc[0]}"
    line = "-" if controlled else "none"
    for k, measure in enumerate(("delta_m", "worst_drop")):
        left.errorbar(
            values, group[measure], yerr=group[f"{measure}_se"] if controlled else None,
            fmt="o", ls=line, ms=5 if controlled else 3, capsize=2, color=COLOURS[k],
            label=MEASURE_LABELS[measure],
        )  # fmt: skip
    left.set_ylabel(f"[%] ({group['split'].iloc[0]})")
    middle.errorbar(
        values, group["delta_m_variance"],
        yerr=group["delta_m_variance_se"] if controlled else None, fmt="s", ls=line,
        ms=5 if controlled else 3, capsize=2, color=COLOURS[2],
    )  # fmt: skip
    middle.set_ylabel(MEASURE_LABELS["delta_m_variance"])
    for ax in (left, middle):
        ax.set_xlabel(name)
        if values.min() > 0 and values.max() / values.min() >= 8:
            logarithmic_axis(ax)
            if controlled:
                ax.set_xticks(values.tolist())
                ax.minorticks_off()
    front = group["on_front"].astype(bool)
    right.scatter(
        group["delta_m"], group["delta_m_variance"], s=22, edgecolors=COLOURS[1],
        facecolors=[COLOURS[1] if on else "white" for on in front],
    )  # fmt: skip
    ordered = group[front].sort_values("delta_m")
    right.plot(ordered["delta_m"], ordered["delta_m_variance"], color=GREY, lw=1, zorder=0)
    for row in (group if controlled else ordered).to_dict("records"):
        right.annotate(
            f"{row['value']:.3g}", (row["delta_m"], row["delta_m_variance"]), fontsize=8,
            textcoords="offset points", xytext=(4, 4),
        )  # fmt: skip
    right.set_xlabel(MEASURE_LABELS["delta_m"])
    right.set_ylabel(MEASURE_LABELS["delta_m_variance"])
