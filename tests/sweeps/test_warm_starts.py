"""Warm starts: configurations of papers and of the study's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweeps_fakes import (
    execute,
    make_plan,
    resolved_study,
    tuning,
)

from sweeps.errors import StudyError


def test_papers_say_where_a_search_begins() -> None:
    study = resolved_study(
        problem={"name": "multi_mnist", "tasks": "CL_RR"},
        methods=[
            "ls",
            {"name": "cagrad", "c": [0.2, 0.5, 0.8]},
            {"name": "cdtt", "alpha": {"low": 0.3, "high": 1.0}},
            {"name": "famo", "w_lr": 0.01},
            "uw",
        ],
        search_space={
            "lr": {"low": 5e-4, "high": 0.002, "log": True},
            "dropout": {"low": 0.0, "high": 0.5},
        },
        fixed_weights=None,
        start_from="papers",
    )
    points = {c.variant: c.start_from for c in study.candidates}
    assert points["ls"] == ({"training.lr": 0.001, "training.dropout": 0.0},)
    assert points["cagrad"][0]["method.c"] == 0.8
    assert points["cdtt"][0]["method.alpha"] == 0.3
    assert points["cdtt"][0]["training.lr"] == 0.002
    said = "\n".join(study.notes)
    assert "cdtt starts with alpha = 0.3, the end of its range, instead of the 0.2 of" in said
    assert "cdtt starts with lr = 0.002, the end of its range" in said
    assert "cagrad does not start with c = 0.4 of CAGrad, section 5" in said
    assert "famo starts with w_lr = 0.01, which the study holds" in said


def test_papers_of_other_problems_say_nothing_but_what_they_say_of_all() -> None:
    study = resolved_study(methods=["ls", "fairgrad"], start_from="papers")
    points = {c.variant: c.start_from for c in study.candidates}
    assert points == {"ls": (), "fairgrad": ({"method.alpha": 2.0},)}


def test_every_paper_entry_names_methods_and_settings_that_exist() -> None:
    from mtl_methods.registry import method_info
    from sweeps.definition.resolved import TRAINING_PARAMETERS
    from sweeps.search.warm_starts import paper_entries
    from trainables.problems import list_problems, make_problem

    for entry in paper_entries():
        assert entry["source"]
        if entry.get("problem"):
            assert entry["problem"] in list_problems()
            make_problem(entry["problem"], **(entry.get("options") or {}))
        for name, settings in entry["methods"].items():
            declared = {p.name: p for p in method_info(name).hyperparameters}
            for key, value in settings.items():
                if key in TRAINING_PARAMETERS:
                    assert value >= 0
                else:
                    declared[key].validate(value, name)


def test_named_configurations_come_first(tmp_path: Path) -> None:
    study = resolved_study(
        methods=[{"name": "ls", "weights": "simplex"}, "fairgrad"],
        start_from=[
            {"method": "fairgrad", "name": "greedy", "alpha": 1.5, "lr": 0.005},
            {"method": "ls", "weights": {"CL": 0.5, "RR": 1.5}},
        ],
    )
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path)
    first, second = tuning(plan, "fairgrad").attempts[:2]
    assert first.point == {"method.alpha": 1.5, "training.lr": 0.005}
    assert second.point["method.alpha"] == 2.0  # the method's default
    weights = tuning(plan, "ls").attempts[0].configuration.hyperparameters["weights"]
    assert weights == pytest.approx({"CL": 0.5, "RR": 1.5})


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (
            {"method": "fairgard", "alpha": 2.0},
            "did you mean 'fairgrad'?); valid: ls, uw, fairgrad",
        ),
        ({"method": "fairgrad", "alpha": 20.0}, "start_from.0.alpha: 20.0 is outside the range"),
        ({"method": "fairgrad", "beta": 2.0}, "start_from.0.beta: fairgrad has no setting 'beta'"),
        ({"method": "fairgrad", "dropout": 0.5}, "because the study holds dropout of fairgrad at"),
        ({"method": "fairgrad"}, "start_from.0: it names no setting"),
    ],
)
def test_named_configurations_must_fit(named: dict[str, Any], expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        resolved_study(start_from=[named])
    assert expected in str(caught.value)
