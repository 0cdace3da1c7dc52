"""Checkpoints: atomic, checksummed, and loaded without running any code from the file.

A file is a line ``fairsweep-checkpoint 1 <sha256>`` followed by what ``torch.save`` writes. The
payload is tensors, numbers, strings, ``None``, lists and dictionaries, nothing else, so that
``torch.load(weights_only=True)`` reads all of it.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mtl_methods.errors import FairsweepError
from trainables.errors import CorruptFileError
from trainables.files import write_atomically

__all__ = [
    "best_checkpoint_path",
    "checkpoint_path",
    "handover_path",
    "load_checkpoint",
    "save_checkpoint",
]

_MAGIC = b"fairsweep-checkpoint 1 "
_HEADER = len(_MAGIC) + 64 + 1


def checkpoint_path(results_dir: str | Path, trial_id: str) -> Path:
    """Where the last checkpoint of a trial lies in a results folder."""
    return Path(results_dir) / "checkpoints" / trial_id / "last.pt"


def best_checkpoint_path(results_dir: str | Path, trial_id: str) -> Path:
    """Where the parameters of a trial's best epoch lie, if they were kept."""
    return checkpoint_path(results_dir, trial_id).with_name("best.pt")


def handover_path(results_dir: str | Path, trial_id: str) -> Path:
    """Where a trial left its last state for another one that goes on from it."""
    return checkpoint_path(results_dir, trial_id).with_name("handover.pt")


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Writes a checkpoint atomically.

    Args:
        path: The file.
        payload: What to save.

    Raises:
        FairsweepError: If the payload holds something that could not be loaded safely; names it.
        OSError: If the file cannot be written.
    """
    _check_plain(payload, "checkpoint")
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    body = buffer.getvalue()
    digest = hashlib.sha256(body).hexdigest().encode()
    write_atomically(path, _MAGIC + digest + b"\n" + body)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; tensors arrive on the CPU.

    Raises:
        FileNotFoundError: If there is none.
        CorruptFileError: If the file was cut or changed, or is no checkpoint.
    """
    content = path.read_bytes()
    body = content[_HEADER:]
    digest = hashlib.sha256(body).hexdigest().encode()
    if content[:_HEADER] != _MAGIC + digest + b"\n":
        raise CorruptFileError(f"the checkpoint {path} is corrupt: its checksum does not fit")
    try:
        payload: dict[str, Any] = torch.load(
            io.BytesIO(body), map_location="cpu", weights_only=True
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CorruptFileError(f"the checkpoint {path} cannot be read: {error}") from error
    if not isinstance(payload, dict):
        raise CorruptFileError(f"the checkpoint {path} is corrupt: it holds no mapping")
    return payload


def _check_plain(value: Any, place: str) -> None:
    if value is None or type(value) in (bool, int, float, str) or isinstance(value, torch.Tensor):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) not in (str, int):
                raise FairsweepError(f"{place} has the key {key!r}, which is no text or integer")
            _check_plain(item, f"{place}.{key}")
        return
    if type(value) in (list, tuple):
        for position, item in enumerate(value):
            _check_plain(item, f"{place}[{position}]")
        return
    raise FairsweepError(
        f"{place} is a {type(value).__name__}; a checkpoint holds only tensors, numbers, texts, "
        "lists and mappings"
    )
