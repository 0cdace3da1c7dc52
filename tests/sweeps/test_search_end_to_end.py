"""A study with everything a search can have, on Ray: out of time first, then to its end."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from whole_studies import content, ledger, run, write_study

from trainables.run import run_trial
from trainables.spec import TrialSpec

pytestmark = pytest.mark.slow

CHANGES: dict[str, Any] = {
    "protocol": {"epochs": 6, "batch_size": 64},
    "budget": {"trials": 5, "hours": 0.0001},
    "objectives": ["delta_m", "delta_m_variance"],
    "sampler": {"name": "nsga2", "population": 3},
    "scheduler": {"name": "asha", "reduction": 2},
    "start_from": "papers",
    "replicate": {"seeds": 1, "max_configurations": 2},
    "sensitivity": [{"method": "fairgrad", "parameter": "alpha", "values": [1.0, 5.0]}],
    "population": {"size": 3, "interval": 2},
    "weight_sweep": None,
}


def test_a_search_with_everything(tmp_path: Path) -> None:
    study = write_study(tmp_path, **CHANGES)
    code, out, err = run(tmp_path, study)
    assert code == 4, err
    assert "the 0.0001 hours that one run may take (budget.hours) are used up" in out
    assert "Continue with: fairsweep run" in out

    study = write_study(tmp_path, **CHANGES | {"budget": {"trials": 5}})
    code, out, err = run(tmp_path, study)
    assert code == 0, err
    assert "starts from" not in err
    records = ledger(tmp_path)
    statuses = Counter((r["phase"], r["status"]) for r in records.values())
    assert {status for phase, status in statuses if phase != "search"} == {"finished"}
    assert statuses["search", "pruned"] >= 2
    assert statuses["population", "finished"] == 9
    for record in records.values():
        if record["status"] == "pruned":
            assert len(record["epochs"]) in {1, 2, 4}
            assert record["error"]["message"].startswith("asha: ")
    trials = pd.read_parquet(tmp_path / "results" / "trials.parquet")
    replicated = set(trials.loc[trials["phase"] == "replicate", "variant"])
    assert replicated >= {"ls", "fairgrad", "pbt"}
    swept = trials[trials["phase"] == "sensitivity"]
    assert sorted(swept["hp.alpha"]) == [1.0, 5.0]
    with (tmp_path / "results" / "search_front.csv").open(encoding="utf-8", newline="") as file:
        assert {row["variant"] for row in csv.DictReader(file)} == {"ls", "fairgrad"}
    assert (tmp_path / "results" / "report.html").is_file()
    assert not list((tmp_path / "results").glob("checkpoints/*/handover.pt"))

    # A member of the last generation went on twice; from its first epoch on it is the same.
    last = [r for r in records.values() if r["phase"] == "population" and "until" not in r["spec"]]
    assert len(last) == 3
    changed = max(last, key=lambda r: len(r["spec"]["method"]["hyperparameters"]["course"]))
    whole = run_trial(TrialSpec.from_dict(changed["spec"]), phase="population")
    assert content(whole) == content(changed)
