"""One objective or several: fronts, choices among them, measures."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from sweeps_fakes import (
    SEVERAL,
    make_plan,
    resolved_study,
    tuning,
    write_fake_record,
)

from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from sweeps.search.front import chosen, nondominated
from sweeps.search.front_table import write_front
from sweeps.search.objectives import MEASURES, make_objectives


class Point:
    def __init__(self, number: int, *values: float) -> None:
        self.number, self.values = number, values


def numbers(points: list[Point]) -> list[int]:
    return [point.number for point in points]


def test_the_front_is_what_nothing_else_covers() -> None:
    points = [
        Point(0, 1.0, 0.0),
        Point(1, 0.0, 1.0),
        Point(2, 0.4, 0.4),
        Point(3, 0.3, 0.4),  # covered by 2
        Point(4, 1.0, 0.0),  # equal to 0, which came first
        Point(5, 0.6, 0.6),  # covers 2
    ]
    assert numbers(nondominated(points)) == [0, 1, 5]
    assert numbers(nondominated([Point(n, v) for n, v in enumerate([1.0, 3.0, 3.0])])) == [1]


def test_the_knee_is_nearest_to_the_best_of_everything() -> None:
    front = [Point(0, 0.0, 1.0), Point(1, 0.8, 0.7), Point(2, 1.0, 0.0)]
    assert numbers(chosen(front, "knee")) == [1]
    assert numbers(chosen(front, "first")) == [2]
    # The scale of an objective does not matter, and the ends of a front are equally far.
    stretched = [Point(p.number, 1000 * p.values[0], p.values[1]) for p in front]
    assert numbers(chosen(stretched, "knee")) == [1]
    assert numbers(chosen([front[0], front[2]], "knee")) == [2]


def test_further_configurations_cover_the_front() -> None:
    front = [Point(n, n / 10, (10 - n) / 10) for n in range(11)]
    assert numbers(chosen(front, "first", 3)) == [10, 0, 5]
    assert len(chosen(front, "knee", 99)) == 11
    assert chosen([], "knee", 2) == []


def metrics(trial: Trial) -> tuple[float, float]:
    """Accuracy rises and error falls with the learning rate: a real trade-off."""
    place = (math.log10(trial.spec["training"]["lr"]) - math.log10(5e-4)) / math.log10(20)
    return 0.8 + 0.1 * place, 0.02 + 0.05 * place**2


def execute_with_metrics(plan: Plan, results: Path) -> list[Trial]:
    started = []
    while (trial := plan.next()) is not None:
        started.append(trial)
        accuracy, error = metrics(trial)
        write_fake_record(
            results, trial, value=accuracy, metrics={"CL.accuracy": accuracy, "RR.mse": error}
        )
        record = plan.ledger.read(trial.trial_id)
        assert record is not None
        plan.end(trial.trial_id, record)
    assert plan.finished
    return started


def test_several_objectives_are_told_and_several_configurations_replicated(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**SEVERAL), tmp_path)
    started = execute_with_metrics(plan, tmp_path)
    search = tuning(plan, "fairgrad")
    told = search.proposals.study.trials
    assert [len(trial.values) for trial in told] == [2] * 12
    for attempt, trial in zip(search.attempts, told, strict=True):
        accuracy, error = metrics(attempt.results[0][0])
        assert trial.values == pytest.approx([accuracy, -error])
    assert len(search.front) == 12  # a better accuracy always costs error here
    labels = {t.variant for t in started if t.phase == "replicate"}
    assert labels == {f"{m}{n}" for m in ("ls", "uw", "fairgrad") for n in ("", "/2", "/3")}
    rates = {
        label: {
            t.spec["training"]["lr"]
            for t in started
            if t.phase == "replicate" and t.variant == label
        }
        for label in ("fairgrad", "fairgrad/2", "fairgrad/3")
    }
    assert all(len(rate) == 1 for rate in rates.values())
    assert len(set.union(*rates.values())) == 3
    # Fixed weights come from the best configuration alone; single-task models have one objective.
    assert {t.source_method for t in started if t.phase == "fixed_weights"} == {"fairgrad"}
    assert len(tuning(plan, "stl:CL").proposals.study.directions) == 1


def test_the_front_of_a_search_is_a_table(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**SEVERAL), tmp_path)
    execute_with_metrics(plan, tmp_path)
    write_front(tmp_path, plan)
    with (tmp_path / "search_front.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["variant"] == "fairgrad"]
    assert len(rows) == 12
    assert [row["replicated_as"] for row in rows if row["replicated_as"]].count("fairgrad") == 1
    assert {row["replicated_as"] for row in rows} >= {"fairgrad/2", "fairgrad/3"}
    assert all(float(row["RR.mse"]) > 0 for row in rows)  # as defined, not with its sign turned
    accuracies = [float(row["CL.accuracy"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {"hp.alpha", "training.lr", "configuration_id", "number"} <= set(rows[0])


def test_fewer_configurations_than_asked_for_are_nothing_missing(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(**SEVERAL | {"budget": {"trials": 2}}), tmp_path)
    execute_with_metrics(plan, tmp_path)
    count = plan.counts()["replicate"]
    assert count.left_out == 0
    assert count.planned == count.ended == 3 * 2 * 2


def test_a_single_other_objective_decides(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(objectives=["RR.mse"], budget={"trials": 6}), tmp_path)
    execute_with_metrics(plan, tmp_path)
    search = tuning(plan, "uw")
    best = search.best()
    assert best is not None
    rates = [attempt.configuration.training["lr"] for attempt in search.attempts]
    assert best.configuration.training["lr"] == min(rates)  # the selection measure says the highest


def test_measures_are_those_of_the_tables(tmp_path: Path) -> None:
    study = resolved_study()
    plan = make_plan(study, tmp_path)
    execute_with_metrics(plan, tmp_path)
    trial, record = next((t, r) for t, r in plan.ended if t.phase == "search")
    values, reference = record.summary["validation"], trial.spec["reference"]
    gain = values["CL.accuracy"] / reference["CL"]["accuracy"] - 1
    drop = values["RR.mse"] / reference["RR"]["mse"] - 1
    found = {
        goal.name: goal.value(trial, record)
        for goal in make_objectives(list(MEASURES), "delta_mtm", study.tasks)
    }
    assert found["delta_m"] == pytest.approx(50 * (drop - gain))
    assert found["delta_mtm"] == pytest.approx(50 * (gain - drop))
    assert found["delta_m_variance"] == pytest.approx((50 * (drop + gain)) ** 2)
    assert found["worst_drop"] == pytest.approx(100 * max(drop, -gain))
    assert 0.5 <= found["jain_index"] <= 1.0
    assert 0.0 <= found["gini"] <= 0.5
