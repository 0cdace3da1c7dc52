"""What later versions add must not rename what an existing results folder holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps_fakes import execute, make_plan, resolved_study

from sweeps.definition.identity import digest
from sweeps.definition.resolve import resolve
from sweeps.definition.study_file import load_study

KNOWN = {
    "quickstart": (
        "5e66a28e6b674952",
        "b073f9d2d9f26b5a",
        "fairgrad-828f3181357d5335.jsonl",
    ),
    "multi-mnist-small": (
        "b6c82b66faf76fe7",
        "8fa55c98b8fc7e43",
        "fairgrad-98fe12e02a02afda.jsonl",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_packaged_studies_keep_their_trials(tmp_path: Path, name: str) -> None:
    study_hash, trials, log = KNOWN[name]
    resolved = resolve(load_study(name))
    assert resolved.study_hash == study_hash
    started = execute(make_plan(resolved, tmp_path), tmp_path)
    assert digest([trial.trial_id for trial in started]) == trials
    assert (tmp_path / "search" / log).is_file()


def test_how_long_a_run_may_take_does_not_change_a_study() -> None:
    once = resolved_study(budget={"trials": 3, "seeds": 2})
    timed = resolved_study(budget={"trials": 3, "seeds": 2, "hours": 2.0})
    assert once.study_hash == timed.study_hash
    assert resolved_study(budget={"trials": 4, "seeds": 2}).study_hash != once.study_hash
