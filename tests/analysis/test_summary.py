"""The summary table against numbers worked out from the trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_folder import METHODS, Plan, write_folder

from analysis import fixed_versus_dynamic, load, measures, summarise
from analysis.errors import AnalysisError
from analysis.results import Results
from analysis.scores import final_scores, stl_reference


def row(results: Results, variant: str) -> pd.Series:
    table = summarise(results)
    return table[table["variant"] == variant].iloc[0]


def test_one_row_for_each_method_and_fixed_variant(results: Results) -> None:
    table = summarise(results)
    wanted = {"stl", *METHODS, "fixed(cagrad)", "fixed(fairgrad)"}
    assert set(table["variant"]) == wanted
    assert len(table) == len(wanted)
    assert table["delta_mtm"].is_monotonic_decreasing
    assert table.iloc[0]["variant"] == "stl"


def test_means_errors_and_measures_match_the_trials(results: Results) -> None:
    trials = results.trials
    own = trials[(trials["phase"] == "replicate") & (trials["variant"] == "famo")]
    stl = trials[(trials["phase"] == "baselines") & (trials["seed"] >= 100)]
    base = [stl["test.CL.accuracy"].mean(), stl["test.RR.mse"].mean()]
    values = own[["test.CL.accuracy", "test.RR.mse"]].to_numpy()
    expected = measures.delta_mtm(values, base, [True, False], ["CL", "RR"])
    famo = row(results, "famo")
    assert famo["seeds"] == 4
    assert famo["delta_mtm"] == pytest.approx(expected.mean())
    assert famo["delta_mtm_se"] == pytest.approx(expected.std(ddof=1) / 2)
    assert famo["test.RR.mse"] == pytest.approx(own["test.RR.mse"].mean())
    assert famo["delta_m"] == pytest.approx(-famo["delta_mtm"])
    assert row(results, "ls")["delta_p"] == pytest.approx(0.0, abs=1e-9)


def test_the_reference_is_the_tested_baselines_not_the_searched_ones(results: Results) -> None:
    baselines = results.trials[results.trials["phase"] == "baselines"]
    for split in ("test", "validation"):
        reference = stl_reference(results, split)
        tested = baselines[baselines["seed"] >= 100]
        assert reference.values[0] == pytest.approx(tested[f"{split}.CL.accuracy"].mean())
        assert [len(s) for s in reference.samples] == [4, 4]


def test_diverged_and_failed_trials_enter_no_mean(tmp_path: Path) -> None:
    plan = Plan(diverge=("uw",), fail=("famo",))
    results = load(write_folder(tmp_path / "f", plan))
    # A diverged trial that carries numbers must still not be averaged.
    spoiled = results.trials.copy()
    spoiled.loc[spoiled["status"] != "finished", "test.RR.mse"] = 1e9
    results = Results(
        results.path, results.manifest, results.study, results.metrics, spoiled, results.epochs
    )
    uw, famo = row(results, "uw"), row(results, "famo")
    assert (uw["seeds"], uw["n_diverged"], uw["n_failed"]) == (0, 10, 0)
    assert (famo["seeds"], famo["n_diverged"], famo["n_failed"]) == (0, 0, 10)
    assert np.isnan(uw["delta_mtm"])
    assert final_scores(results)["test.RR.mse"].max() < 1
    table = summarise(results)
    ranks = table.set_index("variant")["mean_rank"]
    assert ranks[["uw", "famo"]].isna().all()
    assert ranks[["ls", "cagrad", "fairgrad"]].between(1, 3).all()


@pytest.mark.parametrize("tasks", [1, 2, 3, 11])
def test_any_number_of_tasks(tmp_path: Path, tasks: int) -> None:
    table = summarise(load(write_folder(tmp_path / "f", Plan(tasks=tasks))))
    assert table["delta_mtm"].notna().all()
    assert table["worst_drop"].notna().all()


def test_one_seed_has_no_error(tmp_path: Path) -> None:
    table = summarise(load(write_folder(tmp_path / "f", Plan(seeds=1))))
    assert table["delta_mtm"].notna().all()
    assert table["delta_mtm_se"].isna().all()


def test_without_baselines_metrics_ranks_and_delta_p_remain(tmp_path: Path) -> None:
    table = summarise(load(write_folder(tmp_path / "f", Plan(baselines=False))))
    assert table["delta_mtm"].isna().all()
    assert table["delta_p"].notna().all()
    assert table.loc[table["kind"] == "method", "mean_rank"].notna().all()


def test_all_diverged(tmp_path: Path) -> None:
    plan = Plan(diverge=tuple(METHODS), sweep=0)
    table = summarise(load(write_folder(tmp_path / "f", plan))).set_index("variant")
    assert (table.loc[list(METHODS), "seeds"] == 0).all()
    assert table.loc["stl", "seeds"] == 4


def test_fixed_beside_dynamic(results: Results) -> None:
    table = fixed_versus_dynamic(results).set_index("source")
    assert set(table.index) == {"cagrad", "fairgrad"}
    both = summarise(results).set_index("variant")["delta_mtm"]
    for source in table.index:
        assert table.loc[source, "dynamic"] == pytest.approx(both[source])
        assert table.loc[source, "fixed"] == pytest.approx(both[f"fixed({source})"])
        assert table.loc[source, "difference"] == pytest.approx(
            both[f"fixed({source})"] - both[source]
        )
        assert table.loc[source, ["weight.CL", "weight.RR"]].sum() == pytest.approx(1.0)


def only_diverged_baselines(path: Path) -> Path:
    """A study whose first single-task model always diverged, so that nothing else was run."""
    budgets = {
        "trials": 6,
        "baseline_seeds": 4,
        "replicate_seeds": 4,
    }
    folder = write_folder(path, Plan(extra={"budgets": budgets}))
    trials = pd.read_parquet(folder / "trials.parquet")
    trials = trials[trials["phase"] == "baselines"]
    classified = trials["variant"] == "stl:CL"
    trials.loc[classified, "status"] = "diverged"
    missing = ["validation.CL.accuracy", "test.CL.accuracy"]
    trials.drop(columns=missing).to_parquet(folder / "trials.parquet")
    return folder


def test_planned_methods_without_a_trial_have_a_row_with_no_seeds(tmp_path: Path) -> None:
    results = load(only_diverged_baselines(tmp_path / "f"))
    assert results.problems == ()
    table = summarise(results).set_index("variant")
    assert set(table.index) == {"stl", *METHODS}
    planned = table.loc[list(METHODS)]
    assert (planned[["seeds", "n_trials", "n_diverged", "n_failed"]] == 0).all(axis=None)
    assert (planned["kind"] == "method").all()
    assert planned["label"].tolist() == ["LS", "UW", "FAMO", "CAGrad", "FairGrad"]
    assert planned[["delta_mtm", "mean_rank", "seconds_per_epoch"]].isna().all(axis=None)


def test_a_column_that_no_finished_trial_fills_may_be_absent(tmp_path: Path) -> None:
    folder = only_diverged_baselines(tmp_path / "f")
    trials = pd.read_parquet(folder / "trials.parquet").assign(status="finished")
    trials.to_parquet(folder / "trials.parquet")
    with pytest.raises(AnalysisError, match=r"lacks the column validation\.CL\.accuracy\."):
        load(folder)


def test_the_error_of_a_mean_rank_is_over_seeds_that_all_methods_share(results: Results) -> None:
    own = results.finished[results.finished["phase"] == "replicate"]
    ranks = [
        (group["test.CL.accuracy"].rank(ascending=False) + group["test.RR.mse"].rank()) / 2
        for _, group in own.set_index("variant").groupby("seed")
    ]
    by_seed = pd.DataFrame(ranks)
    table = summarise(results).set_index("variant")
    for name in METHODS:
        expected = by_seed[name].std(ddof=1) / 2
        assert table.loc[name, "mean_rank_se"] == pytest.approx(expected)
        assert table.loc[name, "mean_rank_metrics_se"] == pytest.approx(expected)
    assert table["mean_rank_se"].max() > 0
    assert table.loc[["stl", "fixed(cagrad)"], "mean_rank_se"].isna().all()
    # Without one method's first seed only three seeds are comparable; two are the fewest.
    first = (results.trials["variant"] == "uw") & (results.trials["seed"] == 100)
    first &= results.trials["phase"] == "replicate"
    fewer = summarise(replace(results, trials=results.trials[~first])).set_index("variant")
    rest = by_seed.iloc[1:]["famo"]
    assert fewer.loc["famo", "mean_rank_se"] == pytest.approx(rest.std(ddof=1) / np.sqrt(3))
    one = own[own["seed"] == 100].index.union(results.trials.index[results.trials["seed"] < 100])
    lonely = summarise(replace(results, trials=results.trials.loc[one]))
    assert lonely["mean_rank"].notna().any()
    assert lonely["mean_rank_se"].isna().all()
