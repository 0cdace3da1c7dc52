"""How long a run may take."""

from __future__ import annotations

import threading
from pathlib import Path

from sweeps.planning.plan import PhaseCount
from sweeps.running.allowance import allowance, used_up
from sweeps.running.runner import Outcome


def test_a_run_is_asked_to_stop_when_its_time_is_up() -> None:
    asked = threading.Event()
    with allowance(0.01 / 3600, asked.set):
        assert asked.wait(5.0)


def test_a_run_that_ends_in_time_is_not_asked() -> None:
    asked = threading.Event()
    with allowance(0.05 / 3600, asked.set):
        pass
    with allowance(None, asked.set):
        pass
    assert not asked.wait(0.2)


def test_running_out_of_time_has_an_exit_code_and_a_sentence_of_its_own() -> None:
    phases = {"search": PhaseCount(planned=5, ended=2)}
    said = used_up(1.5, 2, 5)
    outcome = Outcome(Path(), phases=phases, signal=15, out_of_time=said)
    assert outcome.exit_code == 4
    assert said == (
        "the 1.5 hours that one run may take (budget.hours) are used up; 2 of 5 trials have ended "
        "and are kept"
    )
    assert Outcome(Path(), phases=phases, signal=15).exit_code == 143
