"""The ledger: one file per ended trial, the record of truth.

A record is JSON with these keys:

=================  ===============================================================================
``format``         1
``trial_id``       identity of the trial, :attr:`trainables.spec.TrialSpec.trial_id`
``phase``          the phase of the study that the trial belongs to
``spec``           the complete specification
``status``         ``"finished"``, ``"diverged"``, ``"failed"``, or ``"pruned"``: stopped early
``error``          ``null``, or ``type``, ``message``, ``task``, ``epoch``, ``step``, ``traceback``
``epochs``         one row per completed epoch (see :mod:`trainables.training`); a number that is
                   not finite is ``null``
``best_epoch``     the epoch of the best selection measure, counted from 1; ``null`` without epochs
``validation``     ``task.metric``, ``delta_mtm``, ``delta_m`` and ``selection`` at the best epoch
``test``           ``task.metric`` at the best epoch's parameters; ``null`` if it was not read
``seconds``        wall-clock seconds of all epochs and evaluations, over all interruptions
``counters``       how often each rare event of the method happened
``started``        time of the first start, ISO 8601, UTC
``ended``          time of the end
``rule``           of a trial that was stopped early: by which rule, canonical JSON of its settings;
                   absent otherwise, and in records of earlier versions
``host``           name of the machine that ended the trial
``sha256``         of the canonical JSON of the rest
=================  ===============================================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.errors import CorruptFileError
from trainables.files import write_atomically
from trainables.spec import canonical_json

__all__ = ["FORMAT", "STATUSES", "read_record", "record_path", "write_record"]

FORMAT = 1
"""Version of the record's layout."""

STATUSES = ("finished", "diverged", "failed", "pruned")
"""How a trial can end."""


def record_path(results_dir: str | Path, trial_id: str) -> Path:
    """Where the record of a trial lies in a results folder."""
    return Path(results_dir) / "ledger" / f"{trial_id}.json"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a record atomically, with its checksum.

    Args:
        path: The file.
        record: All keys of the module's table but ``sha256``; numbers must be finite.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If a number is not finite.
    """
    content = {**record, "sha256": _checksum(record)}
    text = json.dumps(content, indent=1, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")


def read_record(path: Path) -> dict[str, Any]:
    """Reads a record and checks it.

    Returns:
        The record without ``sha256``.

    Raises:
        FileNotFoundError: If there is none.
        CorruptFileError: If the file was cut or changed, or has another format.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CorruptFileError(f"the ledger record {path} is not of format {FORMAT}")
        checksum = content.pop("sha256", None)
        intact = checksum == _checksum(content)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"the ledger record {path} is no JSON: {error}") from error
    if not intact:
        raise CorruptFileError(f"the ledger record {path} is corrupt: its checksum does not fit")
    for key, kinds in _KINDS.items():
        if not isinstance(content.get(key), kinds):
            raise CorruptFileError(f"the ledger record {path} is corrupt: it has no valid {key}")
    if content["status"] not in STATUSES or not all(isinstance(r, dict) for r in content["epochs"]):
        raise CorruptFileError(f"the ledger record {path} is corrupt: status or epochs")
    return content


_KINDS: dict[str, tuple[type, ...]] = {
    "trial_id": (str,),
    "status": (str,),
    "epochs": (list,),
    "error": (dict, type(None)),
    "validation": (dict, type(None)),
    "test": (dict, type(None)),
    "counters": (dict, type(None)),
    "seconds": (int, float, type(None)),
}


def _checksum(record: Mapping[str, Any]) -> str:
    # Through JSON once, so that what is hashed is what a reader gets back.
    plain = json.loads(json.dumps(dict(record), allow_nan=False))
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()
