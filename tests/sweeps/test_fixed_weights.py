"""Extraction of fixed weights, by numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.phases.fixed_weights import final_weights
from sweeps.phases.units import Blocked
from sweeps.phases.weight_sweep import labels


def course(*weights: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"weight.a": a, "weight.b": b} for a, b in weights]


def test_one_epoch_is_normalised() -> None:
    assert final_weights([course((1.0, 3.0))], ("a", "b"), 0.9) == {"a": 0.25, "b": 0.75}


def test_moving_average_by_hand() -> None:
    # Normalised: (.25, .75), (.5, .5), (1, 0). m1 = .25; m2 = .5 * .25 + .5 * .5 = .375;
    # m3 = .5 * .375 + .5 * 1 = .6875.
    found = final_weights([course((1.0, 3.0), (2.0, 2.0), (5.0, 0.0))], ("a", "b"), 0.5)
    assert found == pytest.approx({"a": 0.6875, "b": 0.3125})


def test_moving_average_with_the_default_beta() -> None:
    # m2 = .9 * .2 + .1 * .8 = .26; m3 = .9 * .26 + .1 * .5 = .284.
    found = final_weights([course((1, 4), (4, 1), (1, 1))], ("a", "b"), 0.9)
    assert found == pytest.approx({"a": 0.284, "b": 0.716})


def test_without_memory_the_last_epoch_counts() -> None:
    assert final_weights([course((1, 9), (3, 1))], ("a", "b"), 0.0) == {"a": 0.75, "b": 0.25}


def test_seeds_are_averaged_after_normalising() -> None:
    # Normalised (.5, .5) and (.1, .9): the scale of a seed's weights does not count.
    found = final_weights([course((100.0, 100.0)), course((0.1, 0.9))], ("a", "b"), 0.9)
    assert found == pytest.approx({"a": 0.3, "b": 0.7})


def test_scale_of_an_epoch_does_not_count() -> None:
    small = final_weights([course((1, 3), (2, 2))], ("a", "b"), 0.9)
    large = final_weights([course((1, 3), (2e6, 2e6))], ("a", "b"), 0.9)
    assert small == pytest.approx(large)


def test_order_is_that_of_the_tasks() -> None:
    assert final_weights([course((1.0, 3.0))], ("b", "a"), 0.9) == {"b": 0.75, "a": 0.25}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"epoch": 1}], "has no effective weights"),
        ([{"weight.a": 1.0}], "has no effective weights"),
        ([{"weight.a": 1.0, "weight.b": float("nan")}], "has no effective weights"),
        ([{"weight.a": 1.0, "weight.b": -1.0}], "sum to 0"),
        ([{"weight.a": 3.0, "weight.b": -1.0}], "averages to less than 0"),
        ([], "recorded no epoch"),
    ],
)
def test_weights_that_cannot_be_fixed(rows: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(Blocked, match=reason):
        final_weights([rows], ("a", "b"), 0.9, "some")


def test_labels_of_points_show_the_weights_as_trained() -> None:
    assert labels([{"a": 0.05, "b": 0.95}]) == ["ls[0.10,1.90]"]
    assert labels([{"a": 0.5, "b": 0.5}, {"a": 0.501, "b": 0.499}]) == [
        "ls[1.000,1.000]",
        "ls[1.002,0.998]",
    ]
