"""How figures look: one colour-blind-safe style for each variant, one way to save."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.results import Results

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7F5A3C",
    "#000000",
)
"""Okabe and Ito's palette (its yellow, too pale on white, replaced by brown): distinguishable with
any colour vision. Beyond eight variants markers and dashes keep them apart."""
GREY = "#6B7280"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES = ("-", "--", "-.", ":")

RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fairsweep",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Style:
    """Colour, marker and dash of one variant; trained fixed weights are hollow."""

    colour: str
    marker: str
    dash: str
    hollow: bool


def styles(results: Results) -> dict[str, Style]:
    """A style for every variant of a folder; fixed weights share their source's colour."""
    names = list(dict.fromkeys([*results.manifest.get("methods", {}), *results.trials["variant"]]))
    bases = [name for name in names if not name.startswith(("fixed(", "stl:")) and "[" not in name]
    found = {name: style_of(place) for place, name in enumerate(bases)}
    for name in names:
        if name.startswith("fixed(") and name[6:-1] in found:
            source = found[name[6:-1]]
            found[name] = Style(source.colour, source.marker, ":", hollow=True)
    return found


def style_of(place: int, *, hollow: bool = False) -> Style:
    """The style of the variant at a place in a list."""
    return Style(
        COLOURS[place % len(COLOURS)],
        MARKERS[place % len(MARKERS)],
        DASHES[(place // len(COLOURS)) % len(DASHES)],
        hollow,
    )


def new_figure(width: float = 6.4, height: float = 4.4) -> Figure:
    """An empty figure that belongs to no global state; size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def look() -> Iterator[None]:
    """The settings under which figures must be both drawn and saved."""
    with mpl.rc_context(RC):
        yield


def logarithmic_axis(ax: Axes) -> None:
    """Make the x axis logarithmic with plain numbers (text is never parsed as mathematics)."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(10.0, subs=(1.0, 2.0, 5.0), numticks=7))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def save(figure: Figure, directory: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as PNG and SVG, reproducibly (no date inside); returns both paths."""
    directory.mkdir(parents=True, exist_ok=True)
    png, svg = directory / f"{name}.png", directory / f"{name}.svg"
    figure.draw_without_rendering()
    figure.set_layout_engine(None)  # laid out once, not again for each format
    figure.savefig(png, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg
