from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from analysis.errors import AnalysisError
from analysis.figures.objective_space import draw_trajectories

FRONT = np.stack([np.linspace(0, 1, 9), 1 - np.linspace(0, 1, 9) ** 0.5], axis=-1)


def test_every_path_is_drawn_where_it_went():
    paths = np.random.default_rng(0).uniform(size=(3, 6, 2))
    figure = draw_trajectories({"one": paths, "other": paths[:1] + 1}, FRONT, names=("a", "b"))
    first, second = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["one", "other"]
    assert first.get_xlabel() == "a"
    assert first.get_ylabel() == "b"
    lines = [c for c in first.collections if isinstance(c, LineCollection)]
    assert len(lines) == 3
    assert len([c for c in second.collections if isinstance(c, LineCollection)]) == 1
    for path, line in zip(paths, lines, strict=True):
        segments = np.array(line.get_segments())
        np.testing.assert_allclose(segments[:, 0], path[:-1])
        np.testing.assert_allclose(segments[:, 1], path[1:])
    np.testing.assert_allclose(first.lines[0].get_xydata(), FRONT)


@pytest.mark.parametrize("count", [1, 4, 5])
def test_panels(count):
    paths = np.zeros((1, 2, 2))
    figure = draw_trajectories({f"m{i}": paths for i in range(count)}, FRONT)
    assert sum(ax.axison for ax in figure.axes) == count


@pytest.mark.parametrize(
    ("paths", "front"),
    [({}, FRONT), ({"x": np.zeros((3, 2))}, FRONT), ({"x": np.zeros((1, 3, 2))}, np.zeros(3))],
)
def test_wrong_shapes(paths, front):
    with pytest.raises(AnalysisError, match=r"shape \(S, T, 2\)"):
        draw_trajectories(paths, front)
