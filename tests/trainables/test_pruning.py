from __future__ import annotations

import json

from trainables.checkpoint import checkpoint_path
from trainables.pruning import PruneMark, mark_path, read_mark, write_mark
from trainables.record import read_record, record_path
from trainables.session import TrialSession


def test_a_marked_trial_ends_before_its_next_epoch_and_says_what_it_did(make_spec, data, tmp_path):
    spec = make_spec("ls", epochs=4)
    session = TrialSession(spec, data, results_dir=tmp_path, prunable=True)
    row = session.step()
    write_mark(tmp_path, spec.trial_id, PruneMark(2, "asha: not good enough"))
    assert session.step()["status"] == "running"  # the mark says after two epochs
    last = session.step()
    assert (last["status"], last["done"], last["epoch"]) == ("pruned", True, 2)
    record = read_record(record_path(tmp_path, spec.trial_id))
    assert record["status"] == "pruned"
    assert [r["epoch"] for r in record["epochs"]] == [1, 2]
    assert record["epochs"][0]["selection"] == row["selection"]
    assert record["validation"]["selection"] == max(r["selection"] for r in record["epochs"])
    assert record["error"]["message"] == "asha: not good enough"
    assert record["error"]["traceback"] is None
    assert record["test"] is None
    assert not checkpoint_path(tmp_path, spec.trial_id).parent.exists()


def test_an_interrupted_trial_is_stopped_after_the_epoch_that_was_decided(
    make_spec, data, tmp_path
):
    spec = make_spec("ls", epochs=5)
    first = TrialSession(spec, data, results_dir=tmp_path, prunable=True, checkpoint_every_s=0)
    rows = [first.step() for _ in range(2)]
    write_mark(tmp_path, spec.trial_id, PruneMark(3, "median"))
    again = TrialSession(spec, data, results_dir=tmp_path, prunable=True)
    record = again.run()
    assert record["status"] == "pruned"
    assert [r["epoch"] for r in record["epochs"]] == [1, 2, 3]
    assert record["epochs"][1]["selection"] == rows[1]["selection"]


def test_what_continues_tells_its_last_epoch_before_it_trains(make_spec, data, tmp_path):
    spec = make_spec("ls", epochs=3)
    options = {"results_dir": tmp_path, "prunable": True}
    first = TrialSession(spec, data, **options)
    row = first.step()  # a driver that is being stopped is not told of it
    first.close()
    again = TrialSession(spec, data, **options)
    assert again.step() == row
    assert again.trainer.epoch == 1
    assert again.step()["epoch"] == 2
    again.close()
    third = TrialSession(spec, data, **options)
    assert third.step()["epoch"] == 2
    write_mark(tmp_path, spec.trial_id, PruneMark(2, "asha"))
    last = third.step()
    assert (last["status"], last["epoch"]) == ("pruned", 2)
    assert [r["epoch"] for r in third.record["epochs"]] == [1, 2]


def test_what_continues_and_cannot_be_stopped_trains_at_once(make_spec, data, tmp_path):
    spec = make_spec("ls", epochs=3)
    first = TrialSession(spec, data, results_dir=tmp_path)
    first.step()
    first.close()
    assert TrialSession(spec, data, results_dir=tmp_path).step()["epoch"] == 2


def test_a_mark_of_no_epochs_stops_what_has_not_begun_and_nothing_else(make_spec, data, tmp_path):
    waits, runs = make_spec("ls", epochs=3, seed=1), make_spec("ls", epochs=3, seed=2)
    session = TrialSession(runs, data, results_dir=tmp_path, prunable=True, checkpoint_every_s=0)
    session.step()
    for spec in (waits, runs):
        write_mark(tmp_path, spec.trial_id, PruneMark(0, "another seed was stopped"))
    assert session.step()["status"] == "running"
    again = TrialSession(runs, data, results_dir=tmp_path, prunable=True)  # from its checkpoint
    assert again.run()["status"] == "finished"
    record = TrialSession(waits, data, results_dir=tmp_path, prunable=True).run()
    assert (record["status"], record["epochs"]) == ("pruned", [])
    assert record["error"]["message"] == "another seed was stopped"
    assert read_record(record_path(tmp_path, waits.trial_id))["validation"] is None


def test_only_trials_that_may_be_are_stopped(make_spec, data, tmp_path):
    spec = make_spec("ls", epochs=2)
    write_mark(tmp_path, spec.trial_id, PruneMark(1, "asha"))
    assert TrialSession(spec, data, results_dir=tmp_path).run()["status"] == "finished"


def test_a_record_of_a_stopped_trial_counts_only_where_it_may_be_stopped(make_spec, data, tmp_path):
    spec = make_spec("ls", epochs=2)
    write_mark(tmp_path, spec.trial_id, PruneMark(1, "asha"))
    TrialSession(spec, data, results_dir=tmp_path, prunable=True).run()
    kept = TrialSession(spec, data, results_dir=tmp_path, prunable=True)
    assert kept.step()["status"] == "pruned"
    whole = TrialSession(spec, data, results_dir=tmp_path).run()
    assert whole["status"] == "finished"
    assert read_record(record_path(tmp_path, spec.trial_id))["status"] == "finished"


def test_what_another_rule_stopped_counts_for_nothing(make_spec, data, tmp_path):
    spec = make_spec("ls", epochs=2)
    options = {"results_dir": tmp_path, "prunable": True}
    write_mark(tmp_path, spec.trial_id, PruneMark(1, "asha", "rule A"))
    assert TrialSession(spec, data, rule="rule A", **options).run()["rule"] == "rule A"
    for rule in ("rule A", ""):
        assert TrialSession(spec, data, rule=rule, **options).record["status"] == "pruned"
    other = TrialSession(spec, data, rule="rule B", **options)
    assert other.record is None
    write_mark(tmp_path, spec.trial_id, PruneMark(1, "asha", "rule A"))  # left by a killed run
    assert other.run()["status"] == "finished"
    assert "rule" not in read_record(record_path(tmp_path, spec.trial_id))


def test_what_names_no_rule_counts_under_any(make_spec, data, tmp_path):
    spec = make_spec("ls", epochs=2)
    options = {"results_dir": tmp_path, "prunable": True}
    write_mark(tmp_path, spec.trial_id, PruneMark(1, "asha"))
    assert "rule" not in TrialSession(spec, data, rule="rule A", **options).run()
    assert TrialSession(spec, data, rule="rule B", **options).record["status"] == "pruned"


def test_a_damaged_mark_is_none(tmp_path):
    assert read_mark(tmp_path, "t") is None
    write_mark(tmp_path, "t", PruneMark(3, "why"))
    assert read_mark(tmp_path, "t") == PruneMark(3, "why")
    for content in (b"{", b"[]", json.dumps({"epoch": 1}).encode()):
        mark_path(tmp_path, "t").write_bytes(content)
        assert read_mark(tmp_path, "t") is None
