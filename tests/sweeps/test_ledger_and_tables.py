"""The driver's view of the ledger, and the tables made from it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from sweeps_fakes import execute, hashed_value, make_plan, resolved_study, write_fake_record

from analysis.results import EPOCH_COLUMNS, TRIAL_COLUMNS
from sweeps.errors import ResultsFolderError
from sweeps.folder.ledger import Ledger
from sweeps.folder.tables import trial_rows, write_tables
from sweeps.planning.plan import Plan
from sweeps.planning.trials import Trial
from sweeps.search.asks import AskLog


def first_trial(results: Path) -> tuple[Plan, Trial]:
    plan = make_plan(resolved_study(), results)
    trial = plan.next()
    assert trial is not None
    return plan, trial


# ------------------------------------------------------------------ ledger


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: raw.replace(b'"seconds": 1.0', b'"seconds": 2.0'),
        lambda raw: raw.replace(b'"format": 1', b'"format": 2'),
        lambda raw: b"\x00" * len(raw),
        lambda raw: b"[]",
    ],
)
def test_damaged_records_count_as_absent(damage: object, tmp_path: Path) -> None:
    _plan, trial = first_trial(tmp_path)
    write_fake_record(tmp_path, trial)
    path = tmp_path / "ledger" / f"{trial.trial_id}.json"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    ledger = Ledger(tmp_path / "ledger").load()
    assert ledger.damaged == [path.name]
    assert ledger.get(trial.trial_id) is None
    assert ledger.read(trial.trial_id) is None


def test_a_record_under_another_name_is_not_taken(tmp_path: Path) -> None:
    _plan, trial = first_trial(tmp_path)
    write_fake_record(tmp_path, trial)
    path = tmp_path / "ledger" / f"{trial.trial_id}.json"
    path.rename(path.with_name("0123456789abcdef.json"))
    assert Ledger(tmp_path / "ledger").load().get("0123456789abcdef") is None


def test_a_worker_that_died_is_recorded_as_a_failure(tmp_path: Path) -> None:
    plan, trial = first_trial(tmp_path)
    record = plan.ledger.write_failure(trial, "WorkerDied", "it died")
    assert record.status == "failed"
    again = Ledger(tmp_path / "ledger").load().get(trial.trial_id)
    assert again is not None
    assert again.error["message"] == "it died"
    assert math.isnan(again.measure("selection"))


def test_a_ledger_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    plan, trial = first_trial(tmp_path)
    (tmp_path / "ledger").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(ResultsFolderError, match="run the same command again"):
        plan.ledger.write_failure(trial, "WorkerDied", "it died")


def test_epochs_of_a_record_that_was_damaged_later(tmp_path: Path) -> None:
    plan, trial = first_trial(tmp_path)
    write_fake_record(tmp_path, trial)
    record = plan.ledger.read(trial.trial_id)
    assert record is not None
    record.path.write_text("{}", encoding="utf-8")
    with pytest.raises(ResultsFolderError, match="run the study again"):
        record.epochs()


# ------------------------------------------------------------------ what searches asked for


def test_asks_are_kept_in_order_and_by_number(tmp_path: Path) -> None:
    log = AskLog(tmp_path, "stl:CL", "abc")
    log.append(0, {"training.lr": 0.1})
    log.append(1, {"training.lr": 0.2})
    assert AskLog(tmp_path, "stl:CL", "abc").load() == {
        0: {"training.lr": 0.1},
        1: {"training.lr": 0.2},
    }
    assert AskLog(tmp_path, "stl:CL", "other").load() == {}


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_line_cut_in_half_is_left_out_and_the_next_one_is_whole(cut: int, tmp_path: Path) -> None:
    log = AskLog(tmp_path, "ls", "abc")
    for number in range(3):
        log.append(number, {"training.lr": 0.1 * number})
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    again = AskLog(tmp_path, "ls", "abc")
    kept = again.load()
    assert set(kept) in ({0, 1}, {0, 1, 2})
    again.append(3, {"training.lr": 0.9})
    assert AskLog(tmp_path, "ls", "abc").load() == {**kept, 3: {"training.lr": 0.9}}


def test_a_changed_ask_is_not_believed(tmp_path: Path) -> None:
    log = AskLog(tmp_path, "ls", "abc")
    log.append(0, {"training.lr": 0.1})
    log.append(1, {"training.lr": 0.2})
    log.path.write_text(log.path.read_text(encoding="utf-8").replace("0.1", "0.7"))
    assert AskLog(tmp_path, "ls", "abc").load() == {1: {"training.lr": 0.2}}


# ------------------------------------------------------------------ tables


def outcome_with_trouble(trial: Trial) -> tuple[str, float]:
    if trial.phase == "replicate" and trial.variant == "uw":
        return ("diverged" if trial.seed == 1000 else "failed"), math.nan
    return hashed_value(trial)


def test_tables_have_the_columns_that_analysis_reads(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path, outcome_with_trouble)
    write_tables(tmp_path, plan.ended)
    trials = pd.read_parquet(tmp_path / "trials.parquet")
    epochs = pd.read_parquet(tmp_path / "epochs.parquet")
    assert set(TRIAL_COLUMNS) <= set(trials.columns)
    assert set(EPOCH_COLUMNS) <= set(epochs.columns)
    assert len(trials) == len(plan.ended)
    assert len(epochs) == sum(len(record.epochs()) for _, record in plan.ended)
    assert not trials["trial_id"].duplicated().any()


def test_rows_say_what_a_trial_was(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path, outcome_with_trouble)
    write_tables(tmp_path, plan.ended)
    trials = pd.read_parquet(tmp_path / "trials.parquet")

    fixed = trials[trials["phase"] == "fixed_weights"]
    assert set(fixed["variant"]) == {"fixed(fairgrad)"}
    assert set(fixed["method"]) == {"ls"}
    assert set(fixed["source_method"]) == {"fairgrad"}
    # The fake weights are 1 and 3: a quarter and three quarters, times two tasks.
    assert fixed["hp.weights.CL"].tolist() == pytest.approx([0.5, 0.5])
    assert fixed["hp.weights.RR"].tolist() == pytest.approx([1.5, 1.5])

    sweep = trials[trials["phase"] == "weight_sweep"]
    assert set(sweep["variant"]) == {"ls[0.50,1.50]", "ls[1.00,1.00]", "ls[1.50,0.50]"}
    assert sorted(sweep["static_weight.CL"]) == pytest.approx([0.25, 0.5, 0.75])
    assert trials.loc[trials["phase"] != "weight_sweep", "static_weight.CL"].isna().all()

    diverged = trials[trials["status"] == "diverged"].iloc[0]
    assert diverged["error_type"] == "NonFiniteLossError"
    assert (diverged["error_task"], diverged["error_epoch"], diverged["error_step"]) == ("CL", 1, 3)
    assert math.isnan(diverged["validation.CL.accuracy"])
    assert trials.loc[trials["status"] == "finished", "error_type"].isna().all()

    searched = trials[trials["phase"] == "search"]
    assert searched["test.CL.accuracy"].isna().all()
    assert searched["hp.alpha"].notna().sum() == 6
    assert trials["training.lr"].notna().all()
    baselines = trials[trials["variant"] == "stl:RR"]
    assert baselines["validation.CL.accuracy"].isna().all()
    assert baselines["hp.task"].eq("RR").all()


def test_seeds_of_a_configuration_share_its_identity(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path)
    rows = pd.DataFrame(trial_rows(plan.ended))
    groups = rows[rows["phase"] == "search"].groupby("configuration_id")["seed"].agg(sorted)
    assert groups.tolist() == [[0, 1]] * 9


def test_tables_of_a_sweep_that_has_just_begun(tmp_path: Path) -> None:
    write_tables(tmp_path, [])
    trials = pd.read_parquet(tmp_path / "trials.parquet")
    assert len(trials) == 0
    assert set(TRIAL_COLUMNS) <= set(trials.columns)
    assert set(EPOCH_COLUMNS) <= set(pd.read_parquet(tmp_path / "epochs.parquet").columns)


def test_a_shared_trial_is_listed_for_each_variant_under_its_own_name(tmp_path: Path) -> None:
    study = resolved_study(
        methods=[{"name": "ls", "label": "one"}, {"name": "ls", "label": "two"}],
        search_space={"lr": 0.001},
        fixed_weights=None,
        weight_sweep=None,
    )
    plan = make_plan(study, tmp_path)
    execute(plan, tmp_path)
    rows = trial_rows(plan.ended)
    names = [row["trial_id"] for row in rows]
    assert len(set(names)) == len(names)
    assert {row["variant"] for row in rows if row["phase"] == "replicate"} == {"one", "two"}
    assert any(name.endswith("@two") for name in names)


def test_tables_are_plain_data(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path)
    json.dumps(trial_rows(plan.ended))
