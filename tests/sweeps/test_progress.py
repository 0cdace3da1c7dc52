"""What progress shows: counts, the best so far, time left."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console
from sweeps_fakes import execute, hashed_value, make_plan, resolved_study

from mtl_methods import Need
from sweeps.planning.estimate import relative_cost, study_seconds
from sweeps.planning.trials import Trial
from sweeps.running.progress import Progress, duration, panel, trial_line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_nothing_is_known_before_the_first_trial(tmp_path: Path) -> None:
    snapshot = Progress(make_plan(resolved_study(), tmp_path)).snapshot()
    assert (snapshot.done, snapshot.total) == (0, 45)
    assert math.isnan(snapshot.left)
    assert snapshot.best == []


def test_time_left_is_work_left_over_slots(tmp_path: Path) -> None:
    study = resolved_study(methods=["ls", "uw"], fixed_weights=None)
    execute(make_plan(study, tmp_path), tmp_path, limit=30)
    plan = make_plan(study, tmp_path)
    progress = Progress(plan)
    progress.slots = 2
    # Every fake trial takes one second: five left on two slots are two seconds and a half.
    snapshot = progress.snapshot()
    assert (snapshot.done, snapshot.total) == (30, 35)
    assert snapshot.left == pytest.approx(2.5)


def test_nothing_is_left_when_all_has_ended(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path)
    assert Progress(plan).snapshot().left == 0.0


def test_best_so_far_is_of_the_search_and_best_first(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path)
    best = Progress(plan).snapshot().best
    assert [value for _, value in best] == sorted((value for _, value in best), reverse=True)
    assert {variant for variant, _ in best} == {"ls", "uw", "fairgrad"}


def test_lines_say_what_ended_and_how(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        bad = trial.phase == "replicate" and trial.variant == "uw"
        return ("diverged", math.nan) if bad else hashed_value(trial)

    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path, outcome)
    snapshot = Progress(plan).snapshot()
    lines = [trial_line(snapshot, trial, record, "delta_mtm") for trial, record in plan.ended]
    single = next(line for line in lines if "stl:RR" in line)
    assert "RR.mse" in single
    assert "[45/45] search ls seed 0: delta_mtm" in "\n".join(lines)
    assert "diverged: made to be diverged" in "\n".join(lines)


def test_the_panel_shows_labels_as_they_are(tmp_path: Path) -> None:
    study = resolved_study(methods=[{"name": "ls", "label": "[bold]ls"}, "uw", "fairgrad"])
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path, lambda trial: ("finished", 1.0 if "bold" in trial.variant else 0.0))
    console = Console(file=io.StringIO(), width=120)
    console.print(panel(Progress(plan).snapshot(), "tiny", "delta_mtm", "stopping"))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "[bold]ls delta_mtm 1" in shown
    assert "45/45" in shown
    assert "stopping" in shown


def test_relative_cost_counts_forward_and_backward_passes() -> None:
    assert relative_cost(frozenset({Need.LOSSES}), "1", 5) == 1.0
    assert relative_cost(frozenset({Need.GRAM}), "K", 2) == pytest.approx(5 / 3)
    assert relative_cost(frozenset({Need.LOSSES_AFTER_STEP}), "1", 2) == pytest.approx(4 / 3)


def test_an_estimate_of_a_study_is_its_work_over_the_slots(tmp_path: Path) -> None:
    study = resolved_study(
        baselines=None,
        selection="loss",
        methods=["ls"],
        replicate=None,
        fixed_weights=None,
        weight_sweep=None,
        budget={"trials": 10},
    )
    plan = make_plan(study, tmp_path)
    one = study_seconds(plan, 1.0, 1) - study_seconds(plan, 0.5, 1)
    assert one == pytest.approx(10 * 2 * 0.5)
    two = study_seconds(plan, 1.0, 2) - study_seconds(plan, 0.5, 2)
    assert two == pytest.approx(one / 2)
