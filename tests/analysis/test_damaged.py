"""Damaged folders: every fault is named, and the report still says what can be said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_folder import Plan, write_folder

from analysis import AnalysisError, load, summarise, write_report
from analysis.report.cautions import warnings
from analysis.report.findings import findings
from analysis.report.study import StudyAnalysis
from analysis.weights import extract_fixed_weights, normalised_weights


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def rewrite(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(path)).to_parquet(path)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_without_trials_the_epochs_still_speak(copy: Path) -> None:
    whole = load(copy)
    half(copy / "trials.parquet")
    left = load(copy, strict=False)
    (problem,) = left.problems
    assert "trials.parquet is truncated" in problem
    assert "test values, hyper-parameters and times are lost" in problem
    ended = whole.finished.set_index("trial_id")
    assert set(left.trials["trial_id"]) == set(ended.index)
    row = left.trials[left.trials["variant"] == "cagrad"].iloc[-1]
    assert row["validation.CL.accuracy"] == pytest.approx(
        ended.loc[row["trial_id"], "validation.CL.accuracy"], rel=0.02
    )
    pd.testing.assert_frame_equal(normalised_weights(left), normalised_weights(whole))
    expected = extract_fixed_weights(whole, "fairgrad")
    pd.testing.assert_series_equal(extract_fixed_weights(left, "fairgrad"), expected)
    study = StudyAnalysis(left)
    assert "no test values" in findings(study)[0].text
    assert findings(study)[0].evidence == "validation"
    assert not any("budgets were unequal" in text for text in warnings(study))
    said = " ".join(finding.text for finding in findings(study))
    assert "one of the two has no value on the test split" in said


def test_of_trials_that_did_not_end_nothing_is_made_up(copy: Path) -> None:
    short = load(copy).trials["trial_id"].iloc[-1]
    rewrite(copy / "epochs.parquet", lambda e: e[(e["trial_id"] != short) | (e["epoch"] < 5)])
    (copy / "trials.parquet").unlink()
    left = load(copy, strict=False)
    assert short not in set(left.trials["trial_id"])
    assert "1 shorter trials are left out" in left.problems[0]


def test_a_report_of_a_folder_without_readable_trials(copy: Path) -> None:
    half(copy / "trials.parquet")
    html = write_report(copy).report.read_text()
    assert "trials.parquet is truncated" in html
    assert 'id="validation"' in html
    assert 'id="figure-weights"' in html
    assert 'id="figure-similarity"' in html


def test_a_report_of_a_folder_without_any_table(copy: Path) -> None:
    half(copy / "trials.parquet")
    half(copy / "epochs.parquet")
    html = write_report(copy, notes=["Found in the cellar."]).report.read_text()
    assert "Nothing is known of any trial" in html
    assert "Found in the cellar." in html
    assert "without a single trial so far: LS, UW, FAMO, CAGrad and FairGrad" in html


def test_another_format_is_read_as_far_as_it_goes(copy: Path) -> None:
    file = copy / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 7}))
    left = load(copy, strict=False)
    assert "has format 7" in left.problems[0]
    assert "columns may mean something else" in left.problems[0]
    assert not summarise(left).empty


@pytest.mark.parametrize("column", ["phase", "method", "variant", "seed"])
def test_what_the_epochs_know_too_is_taken_from_them(copy: Path, column: str) -> None:
    whole = load(copy)
    rewrite(copy / "trials.parquet", lambda t: t.drop(columns=[column]))
    left = load(copy, strict=False)
    assert f"lacks the column {column}" in left.problems[0]
    assert left.trials[column].tolist() == whole.trials[column].tolist()


def test_configurations_are_told_apart_by_their_settings(copy: Path) -> None:
    whole = load(copy)
    rewrite(copy / "trials.parquet", lambda t: t.drop(columns=["configuration_id"]))
    left = load(copy, strict=False)
    tuned = whole.trials["phase"] == "search"
    pairs = pd.DataFrame(
        {"new": left.trials["configuration_id"][tuned], "old": whole.trials["configuration_id"]}
    ).dropna()
    assert pairs["new"].nunique() == pairs["old"].nunique() == len(pairs.drop_duplicates())


@pytest.mark.parametrize("column", ["epochs", "best_epoch", "seconds", "seconds_per_epoch"])
def test_a_missing_measurement_is_missing_and_nothing_else(copy: Path, column: str) -> None:
    whole = load(copy)
    rewrite(copy / "trials.parquet", lambda t: t.drop(columns=[column]))
    left = load(copy, strict=False)
    assert left.trials[column].isna().all()
    kept = [name for name in summarise(whole).columns if name != "seconds_per_epoch"]
    pd.testing.assert_frame_equal(summarise(left)[kept], summarise(whole)[kept])


def test_without_status_a_validation_value_decides(copy: Path) -> None:
    whole = load(copy)
    rewrite(copy / "trials.parquet", lambda t: t.drop(columns=["status"]))
    left = load(copy, strict=False)
    assert set(left.finished["trial_id"]) == set(whole.finished["trial_id"])


def test_unknown_states_and_lost_seeds_are_left_out(copy: Path) -> None:
    rewrite(
        copy / "trials.parquet",
        lambda t: t.assign(
            status=t["status"].where(t.index != 3, "resting"),
            seed=t["seed"].astype(float).where(t.index != 5),
        ),
    )
    with pytest.raises(AnalysisError, match="status resting"):
        load(copy)
    left = load(copy, strict=False)
    assert "These 1 trials are left out" in left.problems[0]
    assert "1 trial(s) without phase, method, variant or seed" in left.problems[1]
    assert left.trials["seed"].dtype == np.int64


def test_infinite_metrics_count_as_missing(copy: Path) -> None:
    rewrite(
        copy / "trials.parquet",
        lambda t: t.assign(**{"test.RR.mse": t["test.RR.mse"].where(t["variant"] != "uw", np.inf)}),
    )
    with pytest.raises(AnalysisError, match=r"infinite values in test\.RR\.mse"):
        load(copy)
    summary = summarise(load(copy, strict=False)).set_index("variant")
    assert np.isnan(summary.loc["uw", "delta_mtm"])
    assert summary["delta_mtm"].drop("uw").notna().all()


def test_a_seed_that_counts_twice_is_named_and_counted_once(copy: Path) -> None:
    def repeat(trials: pd.DataFrame) -> pd.DataFrame:
        again = trials[(trials["phase"] == "replicate") & (trials["variant"] == "uw")].head(1)
        return pd.concat([trials, again.assign(trial_id="again")])

    whole = summarise(load(copy)).set_index("variant")
    rewrite(copy / "trials.parquet", repeat)
    with pytest.raises(AnalysisError, match=r"a configuration and seed .* \(again\)"):
        load(copy)
    left = summarise(load(copy, strict=False)).set_index("variant")
    assert left.loc["uw", "delta_mtm_se"] == whole.loc["uw", "delta_mtm_se"]


def test_duplicates_that_disagree_are_said_to(copy: Path) -> None:
    def contradict(trials: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([trials, trials.head(1).assign(seconds=1e6)])

    rewrite(copy / "trials.parquet", contradict)
    with pytest.raises(AnalysisError, match="with values that differ"):
        load(copy)


def test_pruned_trials_are_counted_and_never_averaged(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan(search=10, sweep=0, fixed=(), seeds=2))
    search = pd.read_parquet(folder / "trials.parquet")
    chosen = search.index[(search["phase"] == "search") & (search["variant"] == "uw")][:3]
    rewrite(
        folder / "trials.parquet",
        lambda t: t.assign(status=t["status"].where(~t.index.isin(chosen), "pruned")),
    )
    results = load(folder)
    assert len(results.trials) - len(results.finished) >= 3
    html = write_report(folder).report.read_text()
    assert '<button type="button">pruned</button>' in html
