"""The figures of a report, each one module with a `draw` function and a caption."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.figures import boxes, trade_off, weights
from analysis.figures.style import look, save
from analysis.results import Results

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the report: file name, heading, caption and how to draw it."""

    name: str
    title: str
    caption: str
    draw: Callable[[Results], Figure | None]


@dataclass(frozen=True)
class DrawnFigure:
    """A figure on disk."""

    spec: FigureSpec
    png: Path
    svg: Path


FIGURES: tuple[FigureSpec, ...] = (
    FigureSpec("trade_off", "Trade-off between tasks", trade_off.CAPTION, trade_off.draw),
    FigureSpec("delta_mtm", "Performance over seeds", boxes.CAPTION, boxes.draw),
    FigureSpec("weights", "Effective weights over training", weights.CAPTION, weights.draw),
)


def draw_all(results: Results, directory: Path) -> list[DrawnFigure]:
    """Draw every figure that the results allow and save it as PNG and SVG.

    Args:
        results: A loaded folder.
        directory: Where the files go; made if missing.

    Returns:
        The figures that were drawn, in the report's order.
    """
    drawn = []
    with look():
        for spec in FIGURES:
            figure = spec.draw(results)
            if figure is None:
                logger.info("No figure %s: these results do not have what it shows.", spec.name)
                continue
            drawn.append(DrawnFigure(spec, *save(figure, directory, spec.name)))
    return drawn
