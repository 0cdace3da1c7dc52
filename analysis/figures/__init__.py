"""The figures of a report, each one module with a `draw` function and a caption."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.figures import (
    boxes,
    critical_difference,
    dynamics,
    fairness,
    forest,
    parallel,
    scatter_matrix,
    space,
    trade_off,
    tuning,
    weights,
)
from analysis.figures.style import look, save
from analysis.results import Results

logger = logging.getLogger(__name__)

Draw = Callable[[Results], Figure | None]


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the report: file name, heading, caption and how to draw it."""

    name: str
    title: str
    caption: str
    draw: Draw


@dataclass(frozen=True)
class DrawnFigure:
    """A figure on disk."""

    spec: FigureSpec
    png: Path
    svg: Path


FIGURES: tuple[FigureSpec, ...] = (
    FigureSpec("trade_off", "Trade-off between tasks", trade_off.CAPTION, trade_off.draw),
    FigureSpec("space", "Three tasks as a space", space.CAPTION, space.draw),
    FigureSpec(
        "trade_off_losses",
        "Trade-off between the tasks' losses",
        trade_off.LOSSES_CAPTION,
        trade_off.draw_losses,
    ),
    FigureSpec("parallel", "Drops of all tasks", parallel.CAPTION, parallel.draw),
    FigureSpec(
        "scatter_matrix", "Every pair of tasks", scatter_matrix.CAPTION, scatter_matrix.draw
    ),
    FigureSpec(
        "standing", "Against swept fixed weights", forest.STANDING_CAPTION, forest.draw_standing
    ),
    FigureSpec("delta_mtm", "Performance over seeds", boxes.CAPTION, boxes.draw),
    FigureSpec("intervals", "Confidence intervals", forest.INTERVAL_CAPTION, forest.draw_intervals),
    FigureSpec(
        "critical_difference",
        "Mean ranks over seeds",
        critical_difference.CAPTION,
        critical_difference.draw,
    ),
    FigureSpec("weights", "Effective weights over training", weights.CAPTION, weights.draw),
    FigureSpec(
        "equivalence",
        "Fixed minus dynamic weights",
        forest.EQUIVALENCE_CAPTION,
        forest.draw_equivalence,
    ),
    FigureSpec(
        "distance_to_equal",
        "Distance to equal weights",
        dynamics.EQUAL_CAPTION,
        dynamics.draw_distance_to_equal,
    ),
    FigureSpec("fairness", "Fairness against performance", fairness.CAPTION, fairness.draw),
    FigureSpec(
        "similarity",
        "Similarity of task gradients",
        dynamics.SIMILARITY_CAPTION,
        dynamics.draw_similarity,
    ),
    FigureSpec("losses", "Losses of the tasks", dynamics.LOSSES_CAPTION, dynamics.draw_losses),
    FigureSpec("time", "Time per epoch", dynamics.TIME_CAPTION, dynamics.draw_time),
    FigureSpec("best_so_far", "Budget against best", tuning.BEST_CAPTION, tuning.draw_best_so_far),
    FigureSpec("responses", "Response curves", tuning.RESPONSE_CAPTION, tuning.draw_responses),
    FigureSpec(
        "importance",
        "Importance of hyper-parameters",
        tuning.IMPORTANCE_CAPTION,
        tuning.draw_importance,
    ),
)


def draw_all(
    results: Results, directory: Path, instead: Mapping[str, Draw] | None = None
) -> list[DrawnFigure]:
    """Draw every figure that the results allow and save it as PNG and SVG.

    Args:
        results: A loaded folder.
        directory: Where the files go; made if missing.
        instead: By name, what draws a figure in place of its default.

    Returns:
        The figures that were drawn, in the report's order.
    """
    drawn = []
    with look():
        for spec in FIGURES:
            figure = (instead or {}).get(spec.name, spec.draw)(results)
            if figure is None:
                logger.info("No figure %s: these results do not have what it shows.", spec.name)
                continue
            drawn.append(DrawnFigure(spec, *save(figure, directory, spec.name)))
    return drawn
