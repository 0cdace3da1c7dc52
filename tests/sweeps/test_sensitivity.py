"""Sensitivity: one hyper-parameter at a time, everything else at its best."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sweeps_fakes import execute, make_plan, resolved_study

from sweeps.errors import StudyError
from sweeps.folder.tables import write_tables

SWEEPS: list[dict[str, Any]] = [
    {"method": "fairgrad", "parameter": "alpha", "values": [0.5, 1.0, 4.0], "seeds": 3},
    {"method": "uw", "parameter": "lr", "values": [0.001, 0.002]},
]


def test_one_setting_is_swept_and_the_rest_is_the_best(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(sensitivity=SWEEPS), tmp_path)
    started = execute(plan, tmp_path)
    swept = [t for t in started if t.phase == "sensitivity"]
    assert plan.counts()["sensitivity"].planned == 3 * 3 + 2 * 2
    best = plan.context.best("fairgrad")
    assert best is not None
    own = [t for t in swept if t.method == "fairgrad"]
    assert sorted(t.spec["method"]["hyperparameters"]["alpha"] for t in own) == [
        value for value in (0.5, 1.0, 4.0) for _ in range(3)
    ]
    assert {t.spec["training"]["lr"] for t in own} == {best.training["lr"]}
    assert {t.seed for t in own} == {1000, 1001, 1002}
    assert all(t.spec["evaluate_test"] for t in swept)
    assert {t.variant for t in swept} == {
        *("fairgrad[alpha=0.5]", "fairgrad[alpha=1]", "fairgrad[alpha=4]"),
        *("uw[lr=0.001]", "uw[lr=0.002]"),
    }
    place = {id(t): index for index, t in enumerate(started)}
    searched = [place[id(t)] for t in started if t.phase == "search" and t.variant == "fairgrad"]
    assert max(searched) < min(place[id(t)] for t in own)


def test_the_value_that_is_the_best_shares_the_trials_of_the_replicates(tmp_path: Path) -> None:
    study = resolved_study(
        methods=[{"name": "fairgrad", "alpha": 2.0}],
        fixed_weights=None,
        weight_sweep=None,
        sensitivity=[{"method": "fairgrad", "parameter": "alpha", "values": [2.0, 3.0]}],
    )
    plan = make_plan(study, tmp_path)
    started = execute(plan, tmp_path)
    assert len([t for t in started if t.phase == "sensitivity"]) == 2
    assert len([t for t, _ in plan.ended if t.phase == "sensitivity"]) == 4
    assert plan.reused == 0  # nothing had ended before this run
    assert make_plan(study, tmp_path).reused == len(started)
    write_tables(tmp_path, plan.ended)
    trials = pd.read_parquet(tmp_path / "trials.parquet")
    own = trials[trials["phase"] == "sensitivity"]
    assert sorted(own["hp.alpha"]) == [2.0, 2.0, 3.0, 3.0]
    assert own["test.CL.accuracy"].notna().all()


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({"method": "fairgard"}, "(did you mean 'fairgrad'?); valid: ls, uw, fairgrad, auto_l"),
        ({"parameter": "alfa"}, "fairgrad has no setting 'alfa' (did you mean 'alpha'?)"),
        ({"values": [-1.0]}, "sensitivity.0.values.0: fairgrad: alpha = -1.0 is not valid"),
        ({"parameter": "lr", "values": [0.1, 0.0]}, "sensitivity.0.values.1: training: lr = 0.0"),
        ({"values": [1.0, 1.0]}, "sensitivity.0.values.1: fairgrad[alpha=1] is there already"),
        ({"values": []}, "sensitivity.0.values: [] is not valid"),
        ({"values": [1.0, math.inf]}, "sensitivity.0.values.1: inf is not a finite number"),
        (
            {"parameter": "method_lr", "values": [0.1]},
            "sensitivity.0.parameter: method_lr is the learning rate of a method's own parameters, "
            "and fairgrad has none",
        ),
        (
            {"method": "ls", "parameter": "weights", "values": [[1.0, 1.0], [1.0, 1.0, 1.0]]},
            "sensitivity.0.values.1: [1.0, 1.0, 1.0] is not one weight for each of CL, RR",
        ),
        (
            {"method": "ls", "parameter": "weights", "values": [{"CL": 1.0, "XX": 1.0}]},
            "sensitivity.0.values.0: {'CL': 1.0, 'XX': 1.0} does not weight exactly the tasks",
        ),
        (
            {"method": "auto_lambda", "parameter": "primary_tasks", "values": ["CL", "XX"]},
            "sensitivity.0.values.1: auto_lambda: primary_tasks = 'XX': 'XX' is none of the tasks",
        ),
    ],
)
def test_what_does_not_fit_is_refused(sweep: dict[str, Any], expected: str) -> None:
    whole = {"method": "fairgrad", "parameter": "alpha", "values": [1.0]} | sweep
    with pytest.raises(StudyError) as caught:
        resolved_study(methods=["ls", "uw", "fairgrad", "auto_lambda"], sensitivity=[whole])
    assert expected in str(caught.value)


def test_dropout_is_not_swept_where_the_model_knows_none() -> None:
    sweep = {"method": "fairgrad", "parameter": "dropout", "values": [0.0, 0.2]}
    with pytest.raises(StudyError, match="the model of toy knows no dropout"):
        resolved_study(problem="toy", sensitivity=[sweep])
