"""The search views: running best, importance, neighbours, budgets and borders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_folder import Plan, write_folder

from analysis import (
    best_and_neighbours,
    best_so_far,
    border_values,
    importance,
    load,
    response_curves,
    unequal_budgets,
)
from analysis.objective import search_objective
from analysis.report.cautions import warnings
from analysis.report.methods_text import methods_text
from analysis.report.run_tables import borders_table
from analysis.report.study import StudyAnalysis
from analysis.results import Results
from analysis.search import searches


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return load(write_folder(tmp_path_factory.mktemp("search"), Plan(search=40, seeds=1)))


def test_every_method_and_every_single_task_model_has_its_search(searched: Results) -> None:
    names = [tuned.name for tuned in searches(searched)]
    assert names == ["stl:CL", "stl:RR", "ls", "uw", "famo", "cagrad", "fairgrad"]
    assert all(len(tuned.configurations()) == 40 for tuned in searches(searched))
    directions = {tuned.name: tuned.higher_is_better for tuned in searches(searched)}
    assert directions["stl:CL"] is True
    assert directions["stl:RR"] is False


def test_best_so_far_is_monotone_and_ends_at_the_best(searched: Results) -> None:
    table = best_so_far(searched)
    trials = searched.finished
    for name, own in table.groupby("name"):
        best = own["best"].dropna()
        if str(name) == "stl:RR":
            assert best.is_monotonic_decreasing
            continue
        assert best.is_monotonic_increasing
        if not str(name).startswith("stl"):
            search = trials[(trials["phase"] == "search") & (trials["variant"] == name)]
            assert best.iloc[-1] == search["validation.delta_mtm"].max()


def test_importance_sees_what_matters(searched: Results) -> None:
    """In the model alpha and c cost up to 4 %, the learning rate up to 2 %."""
    table = importance(searched)
    for name, parameter in (("fairgrad", "hp.alpha"), ("cagrad", "hp.c")):
        own = table[table["name"] == name].set_index("parameter")
        assert own["importance"].sum() == pytest.approx(1.0)
        assert own["importance"].idxmax() == parameter
        assert own["explained"].iloc[0] > 0.5


def test_importance_needs_enough_configurations(tmp_path: Path) -> None:
    assert importance(load(write_folder(tmp_path / "f", Plan(search=4)))).empty


def test_neighbours_are_sorted_by_distance_from_the_best(searched: Results) -> None:
    table = best_and_neighbours(searched)
    own = table[table["name"] == "fairgrad"]
    assert own["place"].tolist() == [0, 1, 2, 3]
    assert own["distance"].iloc[0] == 0.0
    assert own["distance"].is_monotonic_increasing
    assert own["objective"].iloc[0] == own["objective"].max()
    assert "alpha = " in own["settings"].iloc[0]


def with_choice(results: Results, worse: float = 10.0) -> Results:
    """The same study with two kinds of FairGrad in turn: the best, and one so much worse."""
    trials = results.trials.copy()
    own = trials.index[(trials["variant"] == "fairgrad") & (trials["phase"] == "search")]
    best = own.get_loc(trials.loc[own, "validation.delta_mtm"].idxmax())
    trials["hp.kind"] = None
    kinds = ["mild" if (place - best) % 2 == 0 else "wild" for place in range(len(own))]
    trials.loc[own, "hp.kind"] = kinds
    trials.loc[trials["hp.kind"] == "wild", "validation.delta_mtm"] -= worse
    return replace(results, trials=trials)


def test_a_configuration_with_another_choice_is_not_near(searched: Results) -> None:
    results = with_choice(searched)
    own = best_and_neighbours(results, neighbours=39)
    own = own[own["name"] == "fairgrad"].reset_index(drop=True)
    wild = own["settings"].str.contains("kind = wild")
    assert own["settings"].str.contains("kind = (?:mild|wild)").all()
    assert "kind = mild" in own["settings"].iloc[0]
    assert own.loc[wild, "distance"].min() >= 1.0
    before = best_and_neighbours(searched, neighbours=39)
    before = before[before["name"] == "fairgrad"].set_index("settings")["distance"]
    numbers = before[own["settings"].str.partition(", kind")[0]].to_numpy()
    assert own["distance"].to_numpy() == pytest.approx(np.sqrt(numbers**2 + wild))


def test_importance_and_response_curves_know_choices(searched: Results) -> None:
    results = with_choice(searched)
    table = importance(results)
    own = table[table["name"] == "fairgrad"].set_index("parameter")["importance"]
    assert own.idxmax() == "hp.kind"
    assert own.sum() == pytest.approx(1.0)
    curves = response_curves(results)
    curves = curves[(curves["name"] == "fairgrad") & (curves["parameter"] == "hp.kind")]
    assert set(curves["value"]) == {"mild", "wild"}
    assert curves.loc[curves["best"], "value"].tolist() == ["mild"]
    assert "kind" not in set(border_values(results)["parameter"])


@pytest.mark.parametrize(
    ("values", "said"),
    [([None, 10.0], ["kind = not set", "kind = 10"]), ([True, False], ["kind = True", "= False"])],
)
def test_no_value_and_switches_are_choices(
    searched: Results, values: list[object], said: list[str]
) -> None:
    trials = searched.trials.copy()
    own = (trials["variant"] == "fairgrad") & (trials["phase"] == "search")
    trials["hp.kind"] = None
    trials.loc[own, "hp.kind"] = pd.Series(
        [values[place % 2] for place in range(int(own.sum()))],
        index=trials.index[own],
        dtype=object,
    )
    table = best_and_neighbours(replace(searched, trials=trials), neighbours=39)
    settings = " ".join(table.loc[table["name"] == "fairgrad", "settings"])
    assert all(text in settings for text in said)


def test_response_curves_mark_the_chosen_configuration(searched: Results) -> None:
    table = response_curves(searched)
    chosen = table[table["best"]]
    assert (chosen.groupby(["name", "parameter"]).size() == 1).all()
    best = table.groupby("name")["objective"].max()
    famo = chosen[chosen["name"] == "famo"]
    assert (famo["objective"] == best["famo"]).all()


def test_equal_budgets_need_no_warning_and_unequal_ones_do(searched: Results) -> None:
    assert unequal_budgets(searched) is None
    trials = searched.trials
    dropped = trials[(trials["variant"] == "ls") & (trials["phase"] == "search")].index[:20]
    fewer = replace(searched, trials=trials.drop(dropped))
    assert unequal_budgets(fewer) == (
        "The search budgets were unequal: 40 configurations of single-task CL, 20 of LS."
    )


def moved(results: Results, column: str, value: float) -> Results:
    """The same study with the best configuration of FairGrad moved along one parameter."""
    trials = results.trials.copy()
    own = (trials["variant"] == "fairgrad") & (trials["phase"] == "search")
    best = trials.loc[own, "validation.delta_mtm"].idxmax()
    trials.loc[best, column] = value
    return replace(results, trials=trials)


@pytest.mark.parametrize(
    ("column", "value", "side"),
    [
        ("hp.alpha", 1.0, "low"),
        ("hp.alpha", 9.99, "high"),
        ("hp.alpha", 3.0, None),
        ("training.lr", 1e-2, "high"),
        ("training.lr", 1.02e-4, "low"),
        ("training.lr", 2e-4, None),
    ],
)
def test_best_values_on_the_border_are_named(
    searched: Results, column: str, value: float, side: str | None
) -> None:
    table = border_values(moved(searched, column, value))
    own = table[(table["name"] == "fairgrad") & (table["parameter"] == column.partition(".")[2])]
    assert own["side"].tolist() == ([side] if side else [])
    if side and column == "training.lr":
        assert (own["low"].iloc[0], own["high"].iloc[0]) == (1e-4, 1e-2)
        assert own["recorded"].iloc[0]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ([3.0, 1.0, 2.0], "lies at the upper end of the values searched (1, 2, 3): a better"),
        ({"low": 1.0, "high": 3.0}, "lies at the upper end of the range searched (1 to 3): a"),
    ],
)
def test_a_list_of_choices_is_no_range(searched: Results, setting: object, said: str) -> None:
    results = moved(searched, "hp.alpha", 3.0)
    study = {**results.study, "methods": [{"name": "fairgrad", "label": "f", "alpha": setting}]}
    analysis = StudyAnalysis(replace(results, study=study))
    own = analysis.borders.set_index(["name", "parameter"]).loc[("fairgrad", "alpha")]
    assert own["choices"] == ((1.0, 2.0, 3.0) if isinstance(setting, list) else ())
    warned = [text for text in warnings(analysis) if "best alpha of FairGrad" in text]
    assert len(warned) == 1
    assert said in warned[0]
    table = borders_table(analysis)
    assert table is not None
    rows = [[cell.text for cell in row] for row in table.cells]
    row = next(row for row in rows if row[:2] == ["FairGrad", "alpha"])
    assert row[-1] == ("values" if isinstance(setting, list) else "range")
    text = " ".join(methods_text(analysis))
    wanted = "among the values {3.0, 1.0, 2.0}" if isinstance(setting, list) else "from 1.0 to 3.0"
    assert f"f: alpha {wanted}" in text


def test_all_diverged_leaves_no_best(tmp_path: Path) -> None:
    results = load(write_folder(tmp_path / "f", Plan(diverge=("uw",))))
    uw = next(tuned for tuned in searches(results) if tuned.name == "uw")
    assert uw.best() is None
    own = best_so_far(results)
    assert own.loc[own["name"] == "uw", "best"].isna().all()
    assert np.array_equal(own.loc[own["name"] == "uw", "tried"], np.arange(1, 7))


def with_objectives(folder: Path, *names: str) -> Results:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "objectives": list(names)}), encoding="utf-8")
    return load(folder)


def test_the_objective_is_the_first_that_the_study_names(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan())
    for name, higher in (("RR.mse", False), ("CL.accuracy", True), ("delta_m_variance", False)):
        results = with_objectives(folder, name, "delta_m")
        values, label, direction = search_objective(results)
        assert (label, direction) == (name, higher)
        uw = next(tuned for tuned in searches(results) if tuned.name == "uw")
        means = uw.configurations().set_index("configuration_id")["objective"].dropna()
        assert uw.best() == str(means.idxmax() if higher else means.idxmin())
        assert values[results.trials["phase"] == "search"].notna().any()


def test_the_best_configuration_is_the_one_that_was_replicated(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan())
    results = with_objectives(folder, "delta_m", "worst_drop")
    searched = results.trials[
        (results.trials["phase"] == "search") & (results.trials["variant"] == "uw")
    ]
    second = str(searched["configuration_id"].iloc[1])
    trials = results.trials.copy()
    own = (trials["phase"] == "replicate") & (trials["variant"] == "uw")
    trials.loc[own, "configuration_id"] = second
    changed = replace(results, trials=trials)
    assert next(t for t in searches(changed) if t.name == "uw").best() == second


def test_the_report_says_what_configurations_were_chosen_by(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan())
    text = methods_text(StudyAnalysis(with_objectives(folder, "delta_m")))
    assert "selected by mean delta_m on the validation split" in " ".join(text)
    results = with_objectives(folder, "delta_m", "gini")
    trials = results.trials.copy()
    trials.loc[trials["phase"] == "search", "status"] = "pruned"
    study = {**results.study, "scheduler": {"name": "asha"}}
    text = methods_text(StudyAnalysis(replace(results, trials=trials, study=study)))
    assert "mean delta_m and gini: of the configurations that none other" in " ".join(text)
    assert "ended early, compared with other trials of the same method (asha)." in " ".join(text)
