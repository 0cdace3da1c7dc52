from __future__ import annotations

import json

import pytest

from trainables.errors import CorruptFileError
from trainables.record import read_record, record_path, write_record

RECORD = {
    "format": 1,
    "trial_id": "0123456789abcdef",
    "status": "finished",
    "epochs": [{"epoch": 1, "weight.CL": 0.1 + 0.2, "lr": 1e-20}],
    "error": None,
    "host": "Zürich",
}


def test_round_trip(tmp_path):
    path = record_path(tmp_path, RECORD["trial_id"])
    assert path == tmp_path / "ledger" / "0123456789abcdef.json"
    write_record(path, RECORD)
    assert read_record(path) == RECORD
    assert json.loads(path.read_text())["sha256"]


def test_any_change_is_found(tmp_path):
    path = tmp_path / "a.json"
    write_record(path, RECORD)
    text = path.read_text()
    path.write_text(text.replace("finished", "diverged"))
    with pytest.raises(CorruptFileError, match=r"a\.json is corrupt"):
        read_record(path)
    path.write_text(text[: len(text) // 2])
    with pytest.raises(CorruptFileError, match="no JSON"):
        read_record(path)
    path.write_text("[]")
    with pytest.raises(CorruptFileError, match="not of format 1"):
        read_record(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptFileError, match="no JSON"):
        read_record(path)


def test_reformatting_is_no_change(tmp_path):
    path = tmp_path / "a.json"
    write_record(path, RECORD)
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert read_record(path) == RECORD


def test_numbers_must_be_finite(tmp_path):
    with pytest.raises(ValueError):
        write_record(tmp_path / "a.json", {**RECORD, "seconds": float("nan")})
    assert list(tmp_path.iterdir()) == []
