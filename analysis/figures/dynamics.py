"""What happens in training: gradient similarity, losses, distance to equal weights, time."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis import understanding
from analysis.figures.style import COLOURS, GREY, Style, new_figure, styles
from analysis.results import Results
from analysis.scores import WALL_TIME

BLACK = Style("black", "o", "-", False)
SIMILARITY_CAPTION = (
    "Mean cosine of the task gradients to their mean, over training; band: standard deviation over "
    "seeds. Low similarity is where balancing matters. (Figures 3 and 7 of “Uniform Loss vs. "
    "Specialized Optimization”.)"
)
LOSSES_CAPTION = (
    "Left: losses of the tasks at the best epoch, relative to the mean over methods of the same "
    "task; the line joins smallest and largest, the mark is the mean. Right: spread over tasks of "
    "the training losses, each relative to the mean over methods at the first epoch. (LDC-MTL "
    "paper, Table 3 and Figure 7.)"
)
EQUAL_CAPTION = (
    "Mean absolute difference of the normalised weights to equal weights, over training; bar: "
    "standard deviation over seeds. (Figure 2 of “Uniform Loss vs. Specialized Optimization”.)"
)
TIME_CAPTION = (
    "Seconds per epoch relative to linear scalarisation; dark: the share spent finding weights. "
    f"(Figure 4 of the LDC-MTL paper.) {WALL_TIME}"
)


def draw_similarity(results: Results) -> Figure | None:
    """Cosine similarity over epochs; None where it was not measured."""
    table = understanding.gradient_similarity(results)
    if table.empty:
        return None
    figure = new_figure(6.4, 3.6)
    ax = figure.subplots()
    looks = styles(results)
    for variant, own in table.groupby("variant", sort=False):
        style = looks.get(str(variant), BLACK)
        spread = own["std"].fillna(0.0)
        ax.plot(own["epoch"], own["mean"], color=style.colour, ls=style.dash,
                label=results.label(str(variant)))  # fmt: skip
        ax.fill_between(own["epoch"], own["mean"] - spread, own["mean"] + spread,
                        color=style.colour, alpha=0.15, lw=0)  # fmt: skip
    ax.set_xlabel("epoch")
    ax.set_ylabel("cosine to the mean gradient")
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def draw_losses(results: Results) -> Figure | None:
    """Distribution and discrepancy of losses; None without losses or for one task."""
    curves = understanding.loss_curves(results)
    best = understanding.relative_losses(results)
    if curves.empty or best.empty or len(results.tasks) < 2:
        return None
    figure = new_figure(10.0, max(3.4, 0.3 * len(best) + 1.2))
    left, right = figure.subplots(1, 2)
    looks = styles(results)
    tasks = list(results.tasks)
    order = best[tasks].mean(axis=1).sort_values(ascending=False).index
    for place, index in enumerate(order):
        style = looks.get(str(best.loc[index, "variant"]), BLACK)
        losses = best.loc[index, tasks].astype(float)
        left.plot([losses.min(), losses.max()], [place, place], color=style.colour, lw=2)
        left.plot(losses, [place] * len(tasks), "|", color=style.colour, ms=9)
        left.plot(losses.mean(), place, style.marker, color=style.colour, ms=7)
    left.axvline(1.0, color=GREY, ls="--", lw=1)
    left.set_yticks(range(len(order)), [results.label(str(best.loc[i, "variant"])) for i in order])
    left.grid(axis="y", visible=False)
    left.set_xlabel("validation loss relative to the methods' mean")
    for variant, own in curves.groupby("variant", sort=False):
        style = looks.get(str(variant), BLACK)
        right.plot(own["epoch"], own["discrepancy"], color=style.colour, ls=style.dash,
                   label=results.label(str(variant)))  # fmt: skip
    right.set_xlabel("epoch")
    right.set_ylabel("spread of relative training losses")
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return figure


def draw_distance_to_equal(results: Results) -> Figure | None:
    """Bars of the distance to equal weights; None without effective weights."""
    table = understanding.distance_to_equal(results)
    if table.empty or len(results.tasks) < 2:
        return None
    table = table.sort_values("distance")
    figure = new_figure(6.0, 0.32 * len(table) + 1.0)
    ax = figure.subplots()
    looks = styles(results)
    names = [str(name) for name in table["variant"]]
    ax.barh(
        [results.label(name) for name in names], table["distance"],
        xerr=table["std"].fillna(0.0), color=[looks.get(n, BLACK).colour for n in names],
        error_kw={"lw": 1, "capsize": 2},
    )  # fmt: skip
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("mean distance to equal weights [share]")
    return figure


def draw_time(results: Results) -> Figure | None:
    """Bars of the time per epoch; relative where equal weighting was run."""
    table = understanding.relative_time(results)
    if table.empty:
        return None
    relative = table["relative"].notna().all()
    values = table["relative" if relative else "seconds"]
    figure = new_figure(6.0, 0.32 * len(table) + 1.0)
    ax = figure.subplots()
    labels = [results.label(str(name)) for name in table["variant"]]
    ax.barh(labels, values, color=COLOURS[5])
    ax.barh(labels, values * table["solve_share"].fillna(0.0), color=COLOURS[0])
    for place, value in enumerate(values):
        ax.annotate(f" {value:.2f}", (value, place), va="center", fontsize=9)
    if relative:
        ax.axvline(1.0, color=GREY, ls="--", lw=1)
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.1)
    ax.set_xlabel("seconds per epoch, relative to LS" if relative else "seconds per epoch")
    return figure
