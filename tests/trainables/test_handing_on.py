"""A trial that goes on from the state another one left is the trial that ran from its start."""

from __future__ import annotations

import pytest

from mtl_methods.errors import ConfigurationError
from trainables.checkpoint import handover_path
from trainables.record import read_record, record_path
from trainables.session import TrialSession
from trainables.spec import TrialSpec

TIMES = {"train_seconds", "solve_seconds"}


def rows(record):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in record["epochs"]]


def course_spec(make_spec, course, **changes):
    whole = make_spec("ls_course", epochs=4, **changes).to_dict()
    whole["method"]["hyperparameters"]["course"] = course
    return whole


@pytest.mark.parametrize("schedule", ["cosine", "exponential"])
def test_going_on_equals_running_from_the_start(make_spec, data, tmp_path, schedule):
    first = course_spec(make_spec, "0: 1.0 1.0")
    first["training"]["schedule"] = {"name": schedule}
    head = TrialSpec.from_dict({**first, "until": 2})
    parent = TrialSession(head, data, results_dir=tmp_path, hand_on=True).run()
    assert [row["epoch"] for row in parent["epochs"]] == [1, 2]
    assert parent["status"] == "finished"
    assert handover_path(tmp_path, head.trial_id).is_file()

    first["method"]["hyperparameters"]["course"] = "0: 1.0 1.0; 2: 0.4 1.6"
    tail = TrialSpec.from_dict(first)
    child = TrialSession(tail, data, results_dir=tmp_path, continues=head.trial_id)
    assert child.step()["epoch"] == 3
    went_on = child.run()
    whole = TrialSession(tail, data).run()
    assert rows(went_on) == rows(whole)
    assert rows(went_on)[:2] == rows(parent)
    assert went_on["epochs"][3]["weight.RR"] == pytest.approx(1.6)
    assert went_on["best_epoch"] == whole["best_epoch"]
    assert read_record(record_path(tmp_path, tail.trial_id))["spec"] == tail.to_dict()


def test_without_the_state_it_starts_at_its_first_epoch(make_spec, data, tmp_path):
    tail = TrialSpec.from_dict(course_spec(make_spec, "0: 1.0 1.0; 2: 0.4 1.6"))
    child = TrialSession(tail, data, results_dir=tmp_path, continues="0123456789abcdef")
    assert child.step()["epoch"] == 1


def test_the_state_of_another_trial_is_not_taken(make_spec, data, tmp_path):
    head = TrialSpec.from_dict({**course_spec(make_spec, "0: 1.0 1.0"), "until": 1})
    TrialSession(head, data, results_dir=tmp_path, hand_on=True).run()
    tail = TrialSpec.from_dict(course_spec(make_spec, "0: 1.0 1.0; 1: 0.4 1.6"))
    handover_path(tmp_path, head.trial_id).parent.rename(tmp_path / "checkpoints" / "other")
    child = TrialSession(tail, data, results_dir=tmp_path, continues="other")
    assert child.step()["epoch"] == 1


def test_until_is_part_of_what_a_trial_computes_only_if_given(make_spec):
    whole = make_spec("ls", epochs=4)
    assert "until" not in whole.to_dict()
    parts = [TrialSpec.from_dict({**whole.to_dict(), "until": n}) for n in (1, 2)]
    assert len({whole.trial_id, *(part.trial_id for part in parts)}) == 3
    assert TrialSpec.from_dict({**whole.to_dict(), "until": None}).trial_id == whole.trial_id
    assert [part.epochs for part in parts] == [1, 2]
    for wrong in (0, 5, True, 1.5):
        with pytest.raises(ConfigurationError, match="until = "):
            TrialSpec.from_dict({**whole.to_dict(), "until": wrong})
