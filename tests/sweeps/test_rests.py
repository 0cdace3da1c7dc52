"""Rests: one for every slot at the start and whenever there is nothing to hand out."""

from __future__ import annotations

import pytest

from sweeps.on_ray.rests import Rests


def started(rests: Rests, *names: str) -> None:
    for process, name in enumerate(names):
        rests.rest_given(name)
        rests.started(name)
        rests.reported(("here", process))


def test_trials_wait_until_all_actors_are_up() -> None:
    rests = Rests(2)
    assert rests.assembling
    rests.rest_given("a")
    assert rests.wanted
    rests.rest_given("b")
    assert not rests.wanted
    for _ in range(3):  # the same actor, several times
        rests.reported(("here", 1))
        assert rests.assembling
    rests.reported(("there", 1))
    assert not rests.assembling


def test_no_rest_ends_before_all_actors_are_up() -> None:
    rests = Rests(2)
    rests.rest_given("a")
    rests.trial_given("t")
    rests.reported(("here", 1))
    assert not rests.is_over("a", no_more=False)
    rests.reported(("here", 2))
    assert rests.is_over("a", no_more=False)


def test_patience_begins_with_the_first_actor_and_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sweeps.on_ray.rests._PATIENCE_S", -1.0)
    rests = Rests(2)
    assert rests.assembling
    rests.reported(("here", 1))
    assert not rests.assembling


def test_after_a_death_all_are_counted_anew() -> None:
    rests = Rests(2)
    started(rests, "a", "b")
    assert not rests.assembling
    rests.died()
    assert rests.assembling
    rests.reported(("here", 1))
    assert rests.assembling
    rests.reported(("here", 3))
    assert not rests.assembling


def test_as_many_rests_end_as_trials_wait() -> None:
    rests = Rests(3)
    started(rests, "a", "b", "c")
    assert not rests.is_over("a", no_more=False)
    rests.trial_given("t")
    assert rests.is_over("a", no_more=False)
    assert not rests.is_over("b", no_more=False)
    rests.trial_given("u")
    assert rests.is_over("b", no_more=False)


def test_a_rest_that_takes_the_freed_actor_ends_in_turn() -> None:
    # Tune may give the actor of a rest that ended to another rest rather than to the trial.
    rests = Rests(2)
    started(rests, "a", "b")
    rests.trial_given("t")
    assert rests.is_over("a", no_more=False)
    assert rests.ended("a")
    rests.rest_given("c")
    rests.started("c")
    assert rests.is_over("c", no_more=False)


def test_all_rests_end_when_there_is_no_more_to_do() -> None:
    rests = Rests(2)
    started(rests, "a", "b")
    assert rests.is_over("a", no_more=True)
    assert rests.is_over("b", no_more=True)


def test_trials_are_no_rests() -> None:
    rests = Rests(1)
    rests.trial_given("t")
    rests.started("t")
    assert not rests.is_over("t", no_more=True)
    assert not rests.ended("t")


def test_reports_of_many_rests_do_not_swamp_the_driver() -> None:
    # Reports cost about 5 ms each: all rests together may take a quarter of the driver's time.
    for slots in (1, 10, 1000):
        assert 0.005 * slots / Rests(slots).interval <= 0.26
