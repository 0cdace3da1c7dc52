"""The exit code is 0 only if every planned trial is accounted for."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path

import pytest
from sweeps_fakes import execute, make_plan, resolved_study

from sweeps.commands.cli import _exit_code
from sweeps.errors import ResultsFolderError, StudyError, SweepFailedError
from sweeps.folder.disk import disk_full
from sweeps.planning.plan import PhaseCount
from sweeps.running.outcome import Outcome


def outcome(tmp_path: Path, ended: int, failed: int, stopped: int | None) -> Outcome:
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path, lambda trial: ("failed", 0.0), limit=1)
    return Outcome(
        tmp_path,
        phases={"a": PhaseCount(5, 5), "b": PhaseCount(5, ended - 5)},
        failed=plan.ended * failed,
        signal=stopped,
    )


def test_only_a_complete_study_without_failures_is_0(tmp_path: Path) -> None:
    cases = itertools.product((5, 9, 10), (0, 1), (None, signal.SIGINT, signal.SIGTERM))
    zero = [case for case in cases if outcome(tmp_path, *case).exit_code == 0]
    assert zero == [(10, 0, None)]


@pytest.mark.parametrize(
    ("ended", "failed", "stopped", "code"),
    [
        (10, 0, None, 0),
        (9, 0, None, 3),
        (10, 1, None, 3),
        (10, 0, signal.SIGINT, 130),
        (3, 1, signal.SIGTERM, 143),
    ],
)
def test_codes(tmp_path: Path, ended: int, failed: int, stopped: int | None, code: int) -> None:
    assert outcome(tmp_path, ended, failed, stopped).exit_code == code


def test_what_is_left_out_is_not_accounted_for(tmp_path: Path) -> None:
    made = Outcome(tmp_path, phases={"a": PhaseCount(planned=5, ended=3, left_out=2)})
    assert made.exit_code == 3


def test_a_sweep_that_broke_off_is_3_and_what_was_refused_is_2(tmp_path: Path) -> None:
    assert _exit_code(disk_full(tmp_path)) == 3
    assert _exit_code(SweepFailedError("x")) == 3
    assert _exit_code(ResultsFolderError("x")) == 2
    assert _exit_code(StudyError("x")) == 2
