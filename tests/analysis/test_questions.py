"""The studies' questions on folders whose answer is known: fronts, fixed weights, fairness."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_folder import METHODS, Plan, simplex, write_folder

from analysis import (
    AnalysisError,
    block_table,
    bootstrap_intervals,
    extract_fixed_weights,
    fairness_sweep,
    fixed_equivalence,
    hypervolumes,
    load,
    moving_average,
    normalised_weights,
    rank_test,
    standing,
    summarise,
    understanding,
)
from analysis.fairness import fairness_sentences
from analysis.fixed_dynamic import beside_sweep
from analysis.front import objectives
from analysis.loss_view import loss_view
from analysis.results import Results
from analysis.scores import final_scores, stl_reference
from analysis.sweep import front_trials, sweep_split, weight_sweep


@pytest.fixture(scope="module")
def precise(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Almost without noise: verdicts must be those of the model behind the numbers."""
    plan = Plan(noise=0.0005, sensitivity=(1.0, 2.0, 5.0, 10.0), sweep=15)
    return load(write_folder(tmp_path_factory.mktemp("precise"), plan))


def test_methods_ahead_and_behind_the_front_are_told_apart(precise: Results) -> None:
    """The sweep costs 3 %, CAGrad and FairGrad 2 %, LS 10 %, UW 6 %."""
    verdicts = standing(precise).set_index("variant")["verdict"]
    assert verdicts["cagrad"] == verdicts["fairgrad"] == "ahead"
    assert verdicts["ls"] == verdicts["uw"] == "behind"


def test_objectives_are_compared_on_one_split(precise: Results, tmp_path: Path) -> None:
    assert sweep_split(precise) == "validation"
    tested = load(write_folder(tmp_path / "f", Plan(test_on_sweep=True, search=2)))
    assert sweep_split(tested) == "test"
    assert objectives(tested, weight_sweep(tested)).split == "test"


def test_losses_and_metrics_give_the_same_verdicts(precise: Results) -> None:
    for kind in ("metrics", "losses"):
        verdicts = standing(precise, kind).set_index("variant")["verdict"]
        assert verdicts["ls"] == verdicts["uw"] == "behind"
    with pytest.raises(AnalysisError, match="valid: tasks, metrics, losses"):
        standing(precise, "loss")


def test_hypervolume_grows_only_by_points_beyond_the_front(precise: Results) -> None:
    table = hypervolumes(precise).set_index("variant")
    assert table.loc["cagrad", "gain"] > 0.001
    assert table.loc["ls", "gain"] == 0.0
    assert table["hypervolume"].between(0.0, 1.0).all()


def test_no_sweep_no_verdict(tmp_path: Path) -> None:
    results = load(write_folder(tmp_path / "f", Plan(sweep=0, search=2)))
    assert standing(results).empty
    assert hypervolumes(results).empty


@pytest.mark.parametrize("margin", [0.1, 5.0])
def test_equivalence_depends_on_the_stated_margin(precise: Results, margin: float) -> None:
    """Fixed weights cost half a percentage point more than their source."""
    table = fixed_equivalence(precise, margin=margin).set_index("source")
    expected = "worse" if margin == 0.1 else "equivalent"
    assert table["verdict"].tolist() == [expected, expected]
    assert table["difference"].tolist() == pytest.approx([-0.5, -0.5], abs=0.15)
    sentence = table.loc["cagrad", "sentence"]
    assert f"margin ±{margin:g}" in sentence
    assert ("do worse than" if margin == 0.1 else "do as well as") in sentence


def test_fixed_weights_beside_the_best_of_the_sweep(precise: Results) -> None:
    """The sweep costs 3 %, CAGrad 2 %, its extracted weights half a percentage point more."""
    table = beside_sweep(precise).set_index("source")
    assert (table["split"] == "validation").all()
    assert table.loc["cagrad", "dynamic"] > table.loc["cagrad", "fixed"] > table["swept"].iloc[0]
    assert table["swept"].iloc[0] == pytest.approx(-3.0, abs=0.15)
    assert table["points"].iloc[0] == 15
    assert table["point"].iloc[0].startswith("ls[1.0")


def test_one_seed_leaves_equivalence_open(tmp_path: Path) -> None:
    table = fixed_equivalence(load(write_folder(tmp_path / "f", Plan(seeds=1, search=2))))
    assert set(table["verdict"]) == {"undecided"}
    assert table["sentence"].str.contains("one seed only").all()


def test_weights_are_normalised_smoothed_and_extracted(precise: Results) -> None:
    weights = normalised_weights(precise)
    columns = ["weight.CL", "weight.RR"]
    assert weights[columns].sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert "uw" not in set(weights["variant"])
    own = weights[weights["variant"] == "fairgrad"].groupby("epoch")[columns].mean()
    smooth = own.iloc[0].to_numpy()
    for row in own.to_numpy()[1:]:
        smooth = 0.9 * smooth + 0.1 * row
    extracted = extract_fixed_weights(precise, "fairgrad")
    assert extracted.tolist() == pytest.approx((smooth / smooth.sum()).tolist())
    towards = simplex(METHODS["fairgrad"][0], 2)[0]
    assert min(0.5, towards) <= extracted["CL"] <= max(0.5, towards)
    with pytest.raises(AnalysisError, match="variants that do: ls, famo, cagrad, fairgrad"):
        extract_fixed_weights(precise, "uw")


def test_weights_of_any_learning_rate_can_be_extracted(precise: Results) -> None:
    trials = precise.finished
    search = trials[(trials["variant"] == "fairgrad") & (trials["phase"] == "search")]
    slowest = search.sort_values("training.lr").iloc[0]
    found = extract_fixed_weights(
        precise, "fairgrad", phase="search", configuration_id=slowest["configuration_id"]
    )
    epochs = precise.epochs[precise.epochs["trial_id"] == slowest["trial_id"]]
    weights = epochs[["weight.CL", "weight.RR"]].to_numpy()
    smooth = moving_average(weights / weights.sum(axis=1, keepdims=True))[-1]
    assert found.tolist() == pytest.approx((smooth / smooth.sum()).tolist())
    with pytest.raises(AnalysisError, match="has the configuration 'none'"):
        extract_fixed_weights(precise, "fairgrad", configuration_id="none")


def test_the_share_that_is_kept_is_that_of_the_study(precise: Results) -> None:
    section = {"sources": ["fairgrad"], "beta": 0.5}
    other = replace(precise, study={**precise.study, "fixed_weights": section})
    expected = extract_fixed_weights(precise, "fairgrad", beta=0.5)
    assert extract_fixed_weights(other, "fairgrad").tolist() == expected.tolist()
    assert expected.tolist() != extract_fixed_weights(precise, "fairgrad", beta=0.9).tolist()


def test_moving_average_by_hand() -> None:
    assert moving_average([1.0, 0.0, 0.0], 0.5).tolist() == [1.0, 0.5, 0.25]
    with pytest.raises(AnalysisError, match=r"\[0, 1\)"):
        moving_average([1.0], 1.0)


def test_fairness_sweep_finds_the_best_value(precise: Results) -> None:
    sweep = fairness_sweep(precise)
    own = sweep[(sweep["method"] == "fairgrad") & (sweep["source"] == "sensitivity")]
    assert own["value"].tolist() == [1.0, 2.0, 5.0, 10.0]
    assert own.loc[own["delta_m"].idxmin(), "value"] in (1.0, 2.0)
    assert own["delta_m_variance"].is_monotonic_increasing
    assert own.iloc[-1]["on_front"] == False  # noqa: E712
    assert (own["trials"] == 2).all()
    assert any("fairgrad: Δm is best at alpha" in text for text in fairness_sentences(sweep))


def test_trials_of_another_choice_are_no_trials_of_a_value(precise: Results) -> None:
    """A sensitivity sweep of a choice leaves every number at its best."""
    trials = precise.trials
    swept = (trials["phase"] == "sensitivity") & (trials["method"] == "fairgrad")
    assert swept.sum() == 8
    other = trials[swept & (trials["hp.alpha"] == 2.0)].assign(**{"hp.solver": "other"})
    other = other.assign(trial_id=[f"other{place}" for place in range(len(other))])
    trials = pd.concat([trials.assign(**{"hp.solver": "exact"}), other], ignore_index=True)
    table = fairness_sweep(replace(precise, trials=trials))
    own = table[table["method"] == "fairgrad"]
    assert own.set_index("value")["trials"].to_dict() == dict.fromkeys((1.0, 2.0, 5.0, 10.0), 2)


def test_methods_that_differ_in_one_value_are_a_fairness_sweep(tmp_path: Path) -> None:
    """FairGrad with four values of alpha as four methods of a study, each tuned and replicated."""
    folder = write_folder(tmp_path / "f", Plan(seeds=8, search=2, sweep=0, fixed=()))
    trials = pd.read_parquet(folder / "trials.parquet")
    own = (trials["variant"] == "fairgrad") & (trials["phase"] == "replicate")
    alphas = dict(zip(range(100, 108), (1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 10.0, 10.0), strict=True))
    trials.loc[own, "hp.alpha"] = trials.loc[own, "seed"].map(alphas)
    trials.loc[own, "variant"] = "fairgrad " + trials.loc[own, "hp.alpha"].astype(str)
    trials.to_parquet(folder / "trials.parquet")
    results = load(folder)
    sweep = fairness_sweep(results)
    table = sweep[sweep["method"] == "fairgrad"]
    assert table["source"].unique().tolist() == ["replicate"]
    assert table["split"].unique().tolist() == ["test"]
    assert table["value"].tolist() == [1.0, 2.0, 5.0, 10.0]
    assert table["trials"].tolist() == [2, 2, 2, 2]
    scores = final_scores(results).set_index("trial_id")["delta_m"]
    ids = trials.loc[own & (trials["hp.alpha"] == 5.0), "trial_id"]
    assert table["delta_m"].iloc[2] == pytest.approx(scores[ids].mean())
    assert any(text.startswith("FairGrad!: Δm is best at alpha") for text in
               fairness_sentences(table, lambda name: "FairGrad!"))  # fmt: skip


def test_sensitivity_is_that_of_a_label_not_of_its_method(tmp_path: Path) -> None:
    """Two variants of one method, each with values of its own: neither is mixed with the other."""
    folder = write_folder(tmp_path / "f", Plan(sensitivity=(1.0, 2.0), search=2, sweep=0, fixed=()))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    described = manifest["methods"].pop("fairgrad") | {"name": "fairgrad"}
    for label in ("fair", "fair[er]"):
        manifest["methods"][label] = described | {"label": label}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    trials = pd.read_parquet(folder / "trials.parquet")
    swept = (trials["phase"] == "sensitivity") & (trials["method"] == "fairgrad")
    own = trials[swept]
    parts = []
    for label, shift in (("fair", 0.0), ("fair[er]", 0.5)):
        part = own.assign(trial_id=own["trial_id"] + label, **{"hp.alpha": own["hp.alpha"] + shift})
        parts.append(part.assign(variant=[f"{label}[alpha={v}]" for v in part["hp.alpha"]]))
    pd.concat([trials[trials["method"] != "fairgrad"], *parts]).to_parquet(
        folder / "trials.parquet"
    )
    results = load(folder)
    sweep = fairness_sweep(results)
    table = sweep[sweep["method"] == "fairgrad"].groupby("variant")["value"].apply(list)
    assert table.to_dict() == {"fair": [1.0, 2.0], "fair[er]": [1.5, 2.5]}
    said = fairness_sentences(sweep, results.label)
    assert [text.partition(":")[0] for text in said if "alpha" in text] == ["fair", "fair[er]"]


def test_sensitivity_to_a_training_setting_is_shown_too(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan(sensitivity=(1.0, 2.0), search=2, sweep=0, fixed=()))
    trials = pd.read_parquet(folder / "trials.parquet")
    swept = trials["phase"] == "sensitivity"
    more = trials[swept & (trials["hp.alpha"] == 2.0)]
    more = more.assign(trial_id=more["trial_id"] + "lr", **{"training.lr": 0.01})
    pd.concat([trials, more]).to_parquet(folder / "trials.parquet")
    table = fairness_sweep(load(folder)).set_index(["method", "parameter"])
    assert table.loc[("fairgrad", "lr"), "value"].tolist() == [0.001, 0.01]
    assert table.loc[("fairgrad", "lr"), "trials"].tolist() == [2, 2]
    assert table.loc[("fairgrad", "alpha"), "trials"].tolist() == [2, 2]


def test_equal_weights_are_a_point_of_the_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lucky seeds of equal weights cannot put them beyond what fixed weights reach."""
    monkeypatch.setitem(METHODS, "ls", (0.5, 0.0))
    monkeypatch.setitem(METHODS, "uw", (0.5, 0.015))
    plan = Plan(sweep=3, lowest=0.05, search=1, fixed=(), noise=0.0005)
    results = load(write_folder(tmp_path / "f", plan))
    table = standing(results).set_index("variant")
    assert table.loc["ls", ["distance", "low", "high"]].tolist() == [0.0, 0.0, 0.0]
    assert table.loc["ls", "verdict"] == "on the front"
    # Two seeds of the sweep cost 3 %, four of LS nothing: their mean is 1 %, before UW.
    assert table.loc["uw", "distance"] == pytest.approx(0.5, abs=0.1)
    front = front_trials(results)
    assert front.groupby("variant")["seed"].nunique().tolist() == [2, 6, 2]
    assert hypervolumes(results).set_index("variant").loc["ls", "gain"] == 0.0


def test_a_study_can_be_seen_through_its_losses(precise: Results) -> None:
    view = loss_view(precise)
    assert [metric.label for metric in view.metrics] == ["CL loss ↓", "RR loss ↓"]
    row = view.finished[view.finished["variant"] == "famo"].iloc[-1]
    epochs = precise.epochs[precise.epochs["trial_id"] == row["trial_id"]].set_index("epoch")
    assert row["validation.RR.loss"] == epochs.loc[row["best_epoch"], "validation_loss.RR"]
    assert view.trials["test.RR.loss"].isna().all()
    own = precise.finished[precise.finished["variant"] == "stl:RR"]
    assert view.trials.loc[own.index, "validation.CL.loss"].isna().all()
    assert stl_reference(view, "validation").problems == ()


def test_a_view_of_losses_has_answers_where_its_docstring_says_so(precise: Results) -> None:
    view = loss_view(precise)
    blocks = block_table(view, split="validation")
    assert not blocks.empty
    assert rank_test(blocks).mean_ranks.notna().all()
    assert final_scores(view, "validation")["delta_mtm"].notna().all()
    intervals = bootstrap_intervals(view, split="validation", resamples=50)
    assert intervals.loc[intervals["measure"] == "delta_m", "low"].notna().all()
    assert standing(view)["distance"].notna().all()
    assert hypervolumes(view)["hypervolume"].notna().all()
    assert (fairness_sweep(view)["split"] == "validation").all()
    assert block_table(view).empty
    assert summarise(view)[["delta_m", "test.CL.loss"]].isna().all(axis=None)


def test_seeds_of_different_length_count_up_to_the_last_shared_epoch(precise: Results) -> None:
    """As the sweep extracts them."""
    own = precise.trials[
        (precise.trials["variant"] == "cagrad") & (precise.trials["phase"] == "replicate")
    ]
    short = own["trial_id"].iloc[0]
    epochs = precise.epochs
    cut = replace(precise, epochs=epochs[(epochs["trial_id"] != short) | (epochs["epoch"] <= 3)])
    all_cut = replace(precise, epochs=epochs[epochs["epoch"] <= 3])
    found = extract_fixed_weights(cut, "cagrad")
    pd.testing.assert_series_equal(found, extract_fixed_weights(all_cut, "cagrad"))


def test_a_negative_share_is_no_static_weight(precise: Results) -> None:
    epochs = precise.epochs.copy()
    own = epochs["variant"] == "cagrad"
    epochs.loc[own, "weight.CL"], epochs.loc[own, "weight.RR"] = -1.0, 3.0
    with pytest.raises(AnalysisError, match=r"averages to -0\.5, and a static weight"):
        extract_fixed_weights(replace(precise, epochs=epochs), "cagrad")


def test_fairness_falls_back_to_the_search(tmp_path: Path) -> None:
    sweep = fairness_sweep(load(write_folder(tmp_path / "f", Plan())))
    assert set(sweep["source"]) == {"search"}
    assert set(sweep["parameter"]) == {"c", "alpha"}


def test_similarity_is_that_of_the_epochs(results: Results) -> None:
    table = understanding.gradient_similarity(results)
    assert set(table["variant"]) == {"cagrad", "fairgrad"}
    epochs = results.epochs
    own = epochs[(epochs["variant"] == "cagrad") & (epochs["phase"] == "replicate")]
    last = table[(table["variant"] == "cagrad") & (table["epoch"] == 8)].iloc[0]
    assert last["mean"] == pytest.approx(own.loc[own["epoch"] == 8, "grad_cosine"].mean())
    link = understanding.similarity_and_gain(results)
    assert 0.4 < link["similarity"] < 0.8
    assert link["gain"] > 5


def test_loss_distribution_by_hand(results: Results) -> None:
    table = understanding.loss_distribution(results).set_index("variant")
    epochs = results.epochs
    own = epochs[
        (epochs["variant"] == "famo") & (epochs["phase"] == "replicate") & (epochs["epoch"] == 8)
    ]
    losses = own[["validation_loss.CL", "validation_loss.RR"]].to_numpy()
    assert table.loc["famo", "mean"] == pytest.approx(losses.mean())
    assert table.loc["famo", "std"] == pytest.approx(losses.std(axis=1).mean())
    gap = np.abs(losses[:, 0] - losses[:, 1]).mean()
    assert table.loc["famo", "discrepancy"] == pytest.approx(gap)
    curves = understanding.loss_curves(results)
    assert curves.groupby("variant")["CL"].apply(lambda c: c.is_monotonic_decreasing).all()


def test_distance_to_equal_weights(results: Results) -> None:
    table = understanding.distance_to_equal(results).set_index("variant")
    assert table.loc["cagrad", "distance"] < 0.02 < table.loc["fairgrad", "distance"]


def test_time_is_relative_to_linear_scalarisation(results: Results) -> None:
    table = understanding.relative_time(results).set_index("variant")
    assert table.loc["ls", "relative"] == 1.0
    assert table.loc["cagrad", "relative"] == 2.0
    assert table.loc["cagrad", "solve_share"] == pytest.approx(0.005)


def test_tables_without_their_columns_are_empty(results: Results) -> None:
    bare = Results(
        results.path, results.manifest, results.study, results.metrics, results.trials,
        results.epochs[["trial_id", "phase", "method", "variant", "seed", "epoch"]],
    )  # fmt: skip
    assert understanding.gradient_similarity(bare).empty
    assert understanding.loss_distribution(bare).empty
    assert understanding.loss_curves(bare).empty
    assert understanding.distance_to_equal(bare).empty
    assert normalised_weights(bare).empty
    assert isinstance(understanding.relative_time(bare), pd.DataFrame)
