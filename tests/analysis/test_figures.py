"""Figures: golden images of the main ones, kept small, and what every figure must hold.

The golden images were looked at by eye. To renew them after a wanted change, delete them, run the
tests twice and look at the new ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as images
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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


def drawn(name: str, results: Results) -> Figure:
    with look():
        figure = next(spec for spec in FIGURES if spec.name == name).draw(results)
    assert figure is not None
    return figure


def lost(results: Results, measure: str, *, higher: bool) -> Results:
    """The same study chosen by `measure`, where some configurations of UW went very wrong."""
    trials = results.trials.copy()
    tried = (trials["variant"] == "uw") & (trials["phase"] == "search")
    own = trials.index[tried & (trials["status"] == "finished")]
    column = f"validation.{measure}"
    trials.loc[own[:2], column] = -5000.0 if higher else 5000.0
    return replace(results, trials=trials, manifest=results.manifest | {"objectives": [measure]})


def panel(figure: Figure, label: str) -> Axes:
    return next(ax for ax in figure.axes if ax.get_ylabel().partition("\n")[0] == label)


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Results:
    plan = Plan(search=30, seeds=1, sweep=0, fixed=())
    return load(write_folder(tmp_path_factory.mktemp("thirty"), plan))


@pytest.mark.parametrize(("measure", "higher"), [("delta_mtm", True), ("delta_m", False)])
def test_the_worst_configurations_are_cut_off_and_the_best_never(
    thirty: Results, measure: str, higher: bool
) -> None:
    results = lost(thirty, measure, higher=higher)
    ax = panel(drawn("responses", results), "UW")
    low, high = ax.get_ylim()
    everything, chosen = (dots.get_offsets()[:, 1] for dots in ax.collections)
    assert len(chosen) == 1
    assert low < chosen[0] < high
    assert chosen[0] == (everything.max() if higher else everything.min())
    outside = (everything < low) | (everything > high)
    assert outside.sum() == 2
    assert (np.abs(everything[outside]) == 5000.0).all()
    ax = drawn("best_so_far", results).axes[0]
    low, high = ax.get_ylim()
    assert high - low < 1000.0
    assert all(low < line.get_ydata()[-1] < high for line in ax.lines)


def test_nothing_is_cut_off_where_it_flattens_nothing(thirty: Results) -> None:
    manifest = thirty.manifest | {"objectives": ["delta_m"]}
    for ax in drawn("responses", replace(thirty, manifest=manifest)).axes:
        for dots in ax.collections:
            low, high = ax.get_ylim()
            heights = dots.get_offsets()[:, 1]
            assert low < heights.min()
            assert heights.max() < high


def test_a_method_that_is_far_behind_stays_in_the_figure(thirty: Results) -> None:
    trials = thirty.trials
    own = trials.index[(trials["variant"] == "uw") & (trials["phase"] == "search")]
    trials = trials.drop(own[3:])  # so few that all of them are among the worst tenth
    trials.loc[own[:3], "validation.delta_mtm"] -= 5000.0
    ax = drawn("best_so_far", replace(thirty, trials=trials)).axes[0]
    ends = {line.get_label(): line.get_ydata()[-1] for line in ax.lines}
    assert ax.get_ylim()[0] < ends["UW"] < -4000.0


def test_the_axes_of_the_search_say_what_they_show(thirty: Results) -> None:
    figure = drawn("best_so_far", thirty)
    assert figure.axes[0].get_ylabel() == "best Δmtm [%] ↑"
    for ax in figure.axes:
        assert all(tick == round(tick) for tick in ax.get_xticks())
        figure.draw_without_rendering()
        assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    results = replace(thirty, manifest=thirty.manifest | {"objectives": ["RR.mse"]})
    assert drawn("best_so_far", results).axes[0].get_ylabel() == "best RR mse ↓"
    assert panel(drawn("responses", results), "UW").get_ylabel() == "UW\nRR mse ↓"


def test_a_search_on_a_log_scale_is_drawn_on_one_and_choices_side_by_side(thirty: Results) -> None:
    trials = thirty.trials.copy()
    own = (trials["variant"] == "fairgrad") & (trials["phase"] == "search")
    trials["hp.kind"] = None
    trials.loc[own, "hp.kind"] = ["wild", "mild", "log"] * 10
    figure = drawn("responses", replace(thirty, trials=trials))
    axes = {ax.get_xlabel(): ax for ax in figure.axes[-3:]}  # FairGrad's row
    assert set(axes) == {"lr", "alpha", "kind"}
    assert axes["alpha"].get_xscale() == "log"  # a factor of 10, searched logarithmically
    cagrad = next(ax for ax in figure.axes if ax.get_xlabel() == "c")
    assert cagrad.get_xscale() == "linear"  # a factor of 10, searched evenly
    assert [label.get_text() for label in axes["kind"].get_xticklabels()] == ["log", "mild", "wild"]
    assert set(axes["kind"].collections[0].get_offsets()[:, 0]) == {0.0, 1.0, 2.0}


def test_one_configuration_is_a_point_and_single_tasks_have_nothing_to_show(tmp_path: Path) -> None:
    figure = drawn("best_so_far", load(write_folder(tmp_path / "f", Plan(search=1))))
    assert len(figure.axes) == 1
    (ax,) = figure.axes
    assert all(line.get_marker() != "None" for line in ax.lines)
    assert ax.get_xlim() == (0.5, 1.5)


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
