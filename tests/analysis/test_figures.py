"""Figures: golden images of the main ones, kept small, and what every figure must hold.

The golden images were looked at by eye. To renew them after a wanted change, delete them, run the
tests twice and look at the new ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as images
from synthetic_folder import Plan, write_folder

from analysis import load
from analysis.figures import FIGURES, draw_all
from analysis.figures.scatter_matrix import LARGEST, shown_tasks
from analysis.figures.style import COLOURS, MARKERS, look, style_of, styles
from analysis.front import mean_points
from analysis.results import Results

GOLDEN = Path(__file__).parent / "golden"
DPI = 40
WATCHED = ("trade_off", "delta_mtm", "weights", "standing", "critical_difference", "fairness")
LARGEST_DIFFERENCE = 0.03
"""Mean absolute difference of pixels in [0, 1] that fonts and versions may cause."""


@pytest.mark.parametrize("name", WATCHED)
def test_golden(name: str, results: Results, tmp_path: Path) -> None:
    compare_with_golden(name, results, tmp_path)


def compare_with_golden(name: str, results: Results, tmp_path: Path) -> None:
    spec = next(spec for spec in FIGURES if spec.name == name)
    with look():
        figure = spec.draw(results)
        assert figure is not None
        drawn = tmp_path / f"{name}.png"
        figure.savefig(drawn, dpi=DPI, metadata={"Software": None})
    golden = GOLDEN / f"{name}.png"
    if not golden.exists():
        GOLDEN.mkdir(exist_ok=True)
        golden.write_bytes(drawn.read_bytes())
        pytest.fail(f"{golden} was missing and has been drawn: look at it and run again")
    new, old = images.imread(drawn)[..., :3], images.imread(golden)[..., :3]
    assert new.shape == old.shape
    assert np.abs(new - old).mean() < LARGEST_DIFFERENCE


def test_golden_space(tmp_path: Path) -> None:
    compare_with_golden(
        "space", load(write_folder(tmp_path / "f", Plan(tasks=3, search=1))), tmp_path
    )


def test_every_figure_is_drawn_for_a_complete_study(results: Results, tmp_path: Path) -> None:
    drawn = {figure.spec.name for figure in draw_all(results, tmp_path)}
    needs_other_studies = {"parallel", "scatter_matrix", "space", "importance"}
    assert drawn == {spec.name for spec in FIGURES} - needs_other_studies
    svg = (tmp_path / "trade_off.svg").read_text()
    assert "CL accuracy" in svg  # text stays text
    assert "<dc:date>" not in svg


def test_three_tasks_are_a_space(tmp_path: Path) -> None:
    for sweep in (0, 4):
        plan = Plan(tasks=3, search=1, fixed=(), seeds=2, sweep=sweep)
        results = load(write_folder(tmp_path / str(sweep), plan))
        with look():
            figure = next(spec for spec in FIGURES if spec.name == "space").draw(results)
        assert figure is not None
        first, second = figure.axes
        assert (first.get_xlabel(), first.get_zlabel()) == ("T0 drop [%]", "T2 drop [%]")
        assert first.azim != second.azim
        labels = first.get_legend_handles_labels()[1]
        assert labels.count("LS, swept weights") == (1 if sweep else 0)
        assert {"LS", "UW", "CAGrad", "FairGrad"} <= set(labels)


def test_a_scatter_matrix_of_many_tasks_shows_those_that_differ_most(tmp_path: Path) -> None:
    results = load(write_folder(tmp_path / "f", Plan(tasks=11, search=1, fixed=(), sweep=0)))
    table = mean_points(results)
    shown = shown_tasks(results, table)
    assert len(shown) == LARGEST
    spread = table[list(results.tasks)].std()
    assert spread[shown].min() >= spread.drop(shown).max()


def test_more_tasks_get_other_figures(tmp_path: Path) -> None:
    results = load(write_folder(tmp_path / "f", Plan(tasks=5, search=10)))
    with look():
        drawn = {spec.name for spec in FIGURES if spec.draw(results) is not None}
    assert {"parallel", "scatter_matrix", "importance"} <= drawn
    assert "trade_off" not in drawn


def test_twenty_variants_are_told_apart() -> None:
    looks = {(style.colour, style.marker) for style in map(style_of, range(20))}
    assert len(looks) == 20
    assert len(set(COLOURS)) == len(COLOURS)
    assert len(set(MARKERS)) == len(MARKERS)


def test_fixed_weights_share_their_sources_colour(results: Results) -> None:
    found = styles(results)
    assert found["fixed(cagrad)"].colour == found["cagrad"].colour
    assert found["fixed(cagrad)"].hollow
    assert not found["cagrad"].hollow
    assert "stl:CL" not in found
