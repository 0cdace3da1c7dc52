"""The command ``fairsweep flatness``, and which trials keep what it needs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
from sweeps_fakes import make_plan, resolved_study

import sweeps.commands.cli
from sweeps.commands.flatness_table import COLUMNS
from sweeps.on_ray.searcher import PlanSearcher
from trainables.checkpoint import best_checkpoint_path
from trainables.data import DataCache
from trainables.run import run_trial
from trainables.spec import TrialSpec

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process."""

    def fairsweep(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fairsweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            sweeps.commands.cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return fairsweep


def spec(method: str, seed: int, **hyperparameters: Any) -> TrialSpec:
    options = {"tasks": "CL_RR", "train_pairs": 160, "validation_pairs": 96, "test_pairs": 64}
    return TrialSpec.from_dict(
        {
            "problem": {"name": "multi_digits", "options": options},
            "method": {"name": method, "hyperparameters": hyperparameters},
            "training": {"epochs": 1, "batch_size": 32},
            "seed": seed,
            "selection": "loss",
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trials with checkpoints and one without."""
    folder = tmp_path_factory.mktemp("results")
    data = DataCache()
    for one in (spec("ls", 1), spec("ls", 2), spec("stl", 1, task="RR")):
        run_trial(one, results_dir=folder, data=data, phase="replicate", keep_best=True)
    run_trial(spec("uw", 1), results_dir=folder, data=data, phase="search")
    return folder


@pytest.fixture
def folder(trained: Path) -> Path:
    (trained / "flatness.csv").unlink(missing_ok=True)
    (trained / "trials.parquet").unlink(missing_ok=True)
    return trained


def test_every_trial_with_a_checkpoint_is_measured(folder: Path, command: Command) -> None:
    code, out, err = command("flatness", folder, "--items", 96)
    assert (code, err) == (0, "")
    table = pd.read_csv(folder / "flatness.csv")
    assert tuple(table.columns) == COLUMNS
    ls = spec("ls", 1).trial_id
    assert list(table.loc[table["trial_id"] == ls, "task"]) == ["weighted sum", "CL", "RR"]
    stl = table[table["variant"] == "stl"]
    assert list(stl["task"]) == ["weighted sum", "RR"]
    assert stl["lambda_max"].nunique() == 1
    assert len(table) == 3 + 3 + 2
    assert set(table["seed"]) == {1, 2}
    assert table["converged"].all()
    assert (table["residual"] <= 0.002 * table["lambda_max"]).all()
    assert (table["gradient_variance"] > 0).all()
    assert set(table["items"]) == {96}
    assert set(table["batch_size"]) == {32}
    assert set(table["split"]) == {"train"}
    assert "3/3" in out
    assert "lambda_max" in out
    row = next(line for line in out.splitlines() if "weighted sum" in line and "ls" in line)
    assert [cell.strip() for cell in row.split("│")][3] == "2"
    assert not list(folder.glob(".flatness*"))


def test_the_same_again_is_the_same_and_other_measurements_are_added(
    folder: Path, command: Command
) -> None:
    trial = spec("ls", 2).trial_id
    arguments = ("flatness", folder, "--trial", trial, "--items", 64)
    assert command(*arguments)[0] == 0
    first = pd.read_csv(folder / "flatness.csv").drop(columns="seconds")
    assert command(*arguments)[0] == 0
    again = pd.read_csv(folder / "flatness.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(again, first)
    assert command(*arguments, "--split", "validation", "--parameters", "shared")[0] == 0
    both = pd.read_csv(folder / "flatness.csv")
    assert list(both["split"]) == ["train"] * 3 + ["validation"] * 3
    assert list(both["parameters"]) == ["all"] * 3 + ["shared"] * 3
    assert set(both["trial_id"]) == {trial}
    assert both["lambda_max"].nunique() == 6


def test_labels_are_those_of_the_tables(folder: Path, command: Command) -> None:
    trial = spec("ls", 1).trial_id
    rows = [
        {"trial_id": trial, "phase": "replicate", "method": "ls", "variant": "mean"},
        {
            "trial_id": f"{trial}@fixed(uw)",
            "phase": "fixed_weights",
            "method": "ls",
            "variant": "fixed(uw)",
        },
        {"trial_id": "0" * 16, "phase": "search", "method": "uw", "variant": "uw"},
    ]
    pd.DataFrame(rows).to_parquet(folder / "trials.parquet")
    code, _, _ = command("flatness", folder, "--method", "fixed(uw)", "--items", 64)
    table = pd.read_csv(folder / "flatness.csv")
    assert code == 0
    assert set(table["variant"]) == {"fixed(uw)"}
    assert set(table["phase"]) == {"fixed_weights"}
    assert set(table["trial_id"]) == {trial}
    code, _, _ = command("flatness", folder, "--method", "ls", "--items", 64)
    table = pd.read_csv(folder / "flatness.csv")
    assert code == 0
    assert set(table["variant"]) == {"fixed(uw)", "mean", "ls"}
    shared = table[table["trial_id"] == trial]
    assert shared.groupby("task")["lambda_max"].nunique().eq(1).all()  # measured once


def refused(command: Command, *arguments: object) -> str:
    code, _out, err = command("flatness", *arguments)
    assert code == 2
    assert err.count("\n") == 1
    return err


def test_bad_input_is_one_sentence(folder: Path, tmp_path: Path, command: Command) -> None:
    uw = spec("uw", 1).trial_id
    assert "has no ledger, so it is no results folder" in refused(command, tmp_path)
    nowhere = tmp_path / "nodir"
    assert f"there is no results folder {nowhere}" in refused(command, nowhere)
    assert "no finished trial 'abc'" in refused(command, folder, "--trial", "abc")
    assert "'cagrad'; its labels are ls, stl, uw" in refused(command, folder, "--method", "cagrad")
    for arguments in (("--trial", uw), ("--method", "uw")):
        err = refused(command, folder, *arguments)
        assert "resources.keep_checkpoints: best" in err
        assert "not repeated" in err
    assert "60 items are fewer than the two" in refused(command, folder, "--items", 60)
    assert "--items" in refused(command, folder, "--items", 0)
    assert "'test'" in refused(command, folder, "--split", "test")
    (folder / "flatness.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert "is no flatness table" in refused(command, folder)
    assert (folder / "flatness.csv").read_text(encoding="utf-8") == "a,b\n1,2\n"
    (folder / "trials.parquet").write_bytes(b"PAR1 cut")
    assert "fairsweep report" in refused(command, folder)


def test_what_was_measured_before_a_corrupt_checkpoint_is_kept(
    folder: Path, command: Command
) -> None:
    order = sorted(spec("ls", seed).trial_id for seed in (1, 2))
    path = best_checkpoint_path(folder, order[1])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    try:
        err = refused(command, folder, "--method", "ls", "--items", 64)
    finally:
        path.write_bytes(whole)
    assert "its checksum does not fit" in err
    assert order[1] in err
    assert set(pd.read_csv(folder / "flatness.csv")["trial_id"]) == {order[0]}


@pytest.mark.parametrize(("keep", "kept"), [(None, True), ("best", True), ("none", False)])
def test_a_study_keeps_the_best_epochs_of_trials_that_read_the_test_split(
    keep: str | None, kept: bool, tmp_path: Path
) -> None:
    resources = {"concurrent": 1, **({} if keep is None else {"keep_checkpoints": keep})}
    resolved = resolved_study(resources=resources)
    plan = make_plan(resolved, tmp_path)
    first = plan.next()
    assert first is not None
    searcher = PlanSearcher(
        plan,
        tmp_path,
        resources=resolved.study.resources,
        slots=1,
        events=Mock(),
        first=first,
    )
    assert first.spec["evaluate_test"] is False
    assert searcher._trial("ray1", first)["keep_best"] is False
    tested = replace(first, spec={**first.spec, "evaluate_test": True})
    assert searcher._trial("ray2", tested)["keep_best"] is kept


def test_what_is_kept_does_not_make_another_study() -> None:
    one, other = (
        resolved_study(resources={"keep_checkpoints": keep}).study_hash for keep in ("best", "none")
    )
    assert one == other
