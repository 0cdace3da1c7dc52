"""The rules of early stopping, and who is compared with whom."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from sweeps.definition.study import Scheduler
from sweeps.search.pruning import SCHEDULERS, Pruner, bracket_shares


def reasons(pruner: Pruner, courses: list[list[float]]) -> list[int | None]:
    """Runs trials one after another; after which epoch each was stopped."""
    stopped: list[int | None] = []
    for number, course in enumerate(courses):
        best, after = -math.inf, None
        for epoch, value in enumerate(course, start=1):
            best = max(best, value)
            if pruner.reported(number, epoch, best) is not None:
                after = epoch
                break
        stopped.append(after)
    return stopped


def test_asha_lets_the_best_of_every_three_go_on() -> None:
    pruner = Pruner(Scheduler(name="asha", reduction=3), epochs=9)
    values = [0.5, 0.4, 0.6, 0.55, 0.7, 0.65]
    # Of up to five trials at a level the best goes on, of six the two best: the last one passes
    # level 1, and is the second of four at level 3.
    assert reasons(pruner, [[value] * 9 for value in values]) == [None, 1, None, 1, None, 3]


def test_asha_judges_at_its_levels_only_and_by_the_best_epoch_so_far() -> None:
    pruner = Pruner(Scheduler(name="asha", grace_epochs=2, reduction=2), epochs=9)
    first = [0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    second = [0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]  # its best is behind at level 8
    assert reasons(pruner, [first, second]) == [None, 8]


def test_a_trial_is_never_stopped_after_its_last_epoch() -> None:
    pruner = Pruner(Scheduler(name="asha", reduction=2), epochs=4)
    assert reasons(pruner, [[0.0, 0.0, 0.0, 5.0], [1.0, 1.0, 1.0, 1.0]]) == [None, None]


def test_median_stops_what_is_worse_than_half_of_enough_others() -> None:
    pruner = Pruner(Scheduler(name="median", grace_epochs=2, min_trials=3), epochs=5)
    courses = [[1.0] * 5, [2.0] * 5, [3.0] * 5, [1.5] * 5, [2.5] * 5, [2.0] * 5]
    # The last one is no worse than half of five others after epoch 2, of four after epoch 3 it is.
    assert reasons(pruner, courses) == [None, None, None, 2, None, 3]


def test_hyperband_deals_configurations_out_and_compares_within_a_ladder() -> None:
    scheduler = Scheduler(name="hyperband", reduction=3)
    shares = bracket_shares(scheduler, 27)
    assert shares == pytest.approx([9 / 17, 5 / 17, 3 / 17], abs=0.02)
    pruner = Pruner(scheduler, epochs=27)
    dealt = Counter(pruner._bracket(number) for number in range(34))
    assert [dealt[bracket] for bracket in range(3)] == [round(34 * share) for share in shares]
    pruner = Pruner(scheduler, epochs=27)
    ladder = [pruner._bracket(number) for number in range(6)]
    later = next(number for number in range(6) if ladder[number] != ladder[0])
    courses = [[float(10 - number)] * 27 for number in range(6)]
    stopped = reasons(pruner, courses)
    assert stopped[0] is None
    assert stopped[later] is None  # worse, but the first of its ladder
    assert 1 in stopped


def test_a_configuration_does_not_compete_with_itself() -> None:
    pruner = Pruner(Scheduler(name="asha", reduction=2), epochs=4)
    assert pruner.reported(0, 1, 1.0) is None
    assert pruner.reported(0, 1, 0.5) is None  # the same epoch again: it counts once
    reason = pruner.reported(1, 1, 0.4)
    assert reason is not None
    assert "1 of the 2 configurations" in reason


def test_what_ended_before_counts_as_if_it_had_been_watched() -> None:
    watched, told = (Pruner(Scheduler(name="asha"), epochs=9) for _ in range(2))
    reasons(watched, [[0.1, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]])
    rows = [{"selection": v} for v in [0.1, 0.5, 0.2, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1]]
    told.ended(0, rows)
    for value in (0.05, 0.4, 0.7):
        assert (watched.reported(1, 3, value) is None) is (told.reported(1, 3, value) is None)


def test_none_stops_nothing() -> None:
    assert set(SCHEDULERS) == {"none", "asha", "hyperband", "median"}
    pruner = Pruner(Scheduler(name="none"), epochs=9)
    assert reasons(pruner, [[1.0] * 9, [0.0] * 9]) == [None, None]
