from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch

from mtl_methods.errors import FairsweepError
from trainables.checkpoint import load_checkpoint, save_checkpoint
from trainables.errors import CorruptFileError

PAYLOAD = {
    "epoch": 3,
    "tensor": torch.arange(6.0).reshape(2, 3),
    "nested": {"list": [1, 2.5, None, True, "text"], 0: OrderedDict(a=torch.tensor(1))},
    "betas": (0.9, 0.999),
}


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "last.pt"
    save_checkpoint(path, PAYLOAD)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["tensor"], PAYLOAD["tensor"])
    assert loaded["nested"]["list"] == PAYLOAD["nested"]["list"]
    assert loaded["nested"][0]["a"].item() == 1
    assert loaded["betas"] == (0.9, 0.999)
    save_checkpoint(path, {"epoch": 4})
    assert load_checkpoint(path) == {"epoch": 4}
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("place", [0, 30, 100, 200, -1])
def test_every_flipped_byte_is_found(tmp_path, place):
    path = tmp_path / "last.pt"
    save_checkpoint(path, PAYLOAD)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"last\.pt is corrupt"):
        load_checkpoint(path)


@pytest.mark.parametrize("size", [0, 10, 88, 89, 300])
def test_cut_files_are_found(tmp_path, size):
    path = tmp_path / "last.pt"
    save_checkpoint(path, PAYLOAD)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptFileError, match=r"last\.pt is corrupt"):
        load_checkpoint(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "last.pt")


class Payload:
    """Something that would run code when unpickled."""


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Payload(), r"checkpoint\.a\[1\] is a Payload"),
        (np.float64(1.0), r"checkpoint\.a\[1\] is a float64"),
        (np.zeros(2), r"checkpoint\.a\[1\] is a ndarray"),
        ({(1, 2): 3}, r"checkpoint\.a\[1\] has the key \(1, 2\)"),
    ],
)
def test_only_plain_values_are_saved(tmp_path, value, named):
    with pytest.raises(FairsweepError, match=named):
        save_checkpoint(tmp_path / "last.pt", {"a": [0, value]})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"epoch": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_code_in_a_file_is_not_run(tmp_path):
    """A file with a valid checksum but a foreign object is refused, not executed."""
    import hashlib
    import io

    buffer = io.BytesIO()
    torch.save({"a": Payload()}, buffer)
    body = buffer.getvalue()
    path = tmp_path / "last.pt"
    digest = hashlib.sha256(body).hexdigest().encode()
    path.write_bytes(b"fairsweep-checkpoint 1 " + digest + b"\n" + body)
    with pytest.raises(CorruptFileError, match="cannot be read"):
        load_checkpoint(path)
