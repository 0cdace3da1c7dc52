"""Budgets in training seconds, the same for every method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweeps_fakes import (
    SEARCH_ONLY,
    execute,
    make_plan,
    resolved_study,
    tuning,
)


@pytest.mark.parametrize("slots", [1, 3])
def test_every_method_gets_the_same_seconds(tmp_path: Path, slots: int) -> None:
    # A fake trial takes a second.
    study = resolved_study(**SEARCH_ONLY, budget={"seconds": 6.5, "seeds": 2})
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path, slots=slots)
    assert plan.finished
    for variant in ("ls", "uw", "fairgrad"):
        spent = tuning(plan, variant).spent
        # What was begun before the seconds were used up is trained to its end.
        assert 8.0 <= spent <= 8.0 + 2 * (slots - 1)
    counts = plan.counts()
    assert counts["search"].planned == counts["search"].ended
    assert counts["replicate"].ended == 6


def test_trials_and_seconds_end_a_search_whichever_is_first(tmp_path: Path) -> None:
    for name, budget, expected in (
        ("a", {"trials": 3, "seconds": 100.0}, 3),
        ("b", {"trials": 30, "seconds": 4.0}, 4),
    ):
        plan = make_plan(resolved_study(**SEARCH_ONLY, budget=budget), tmp_path / name)
        execute(plan, tmp_path / name)
        assert plan.finished
        assert [len(tuning(plan, m).attempts) for m in ("ls", "uw", "fairgrad")] == [expected] * 3


@pytest.mark.parametrize("space", [{"lr": {"low": 0.001, "high": 0.01}}, {"lr": [0.001, 0.01]}])
def test_a_search_in_seconds_goes_on_after_an_interruption(
    tmp_path: Path, space: dict[str, Any]
) -> None:
    study = resolved_study(
        **SEARCH_ONLY, budget={"seconds": 5.0}, search_space=space, methods=["ls", "cagrad"]
    )
    whole = make_plan(study, tmp_path / "a")
    execute(whole, tmp_path / "a", slots=2)
    for stop_after in (3, 9):
        results = tmp_path / f"b{stop_after}"
        execute(make_plan(study, results), results, slots=2, limit=stop_after)
        again = make_plan(study, results)
        ended = {path.stem for path in (results / "ledger").iterdir()}
        execute(again, results, slots=2)
        assert again.finished
        assert ended <= {trial.trial_id for trial, _ in again.ended}
        assert execute(make_plan(study, results), results) == []


def test_a_small_space_is_gone_through_once_however_many_seconds_there_are(tmp_path: Path) -> None:
    study = resolved_study(
        **SEARCH_ONLY, budget={"seconds": 1000.0}, search_space={"lr": [0.1, 0.2]}, methods=["ls"]
    )
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path)
    assert len(tuning(plan, "ls").attempts) == 2
