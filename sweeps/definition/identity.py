"""Identity by content: digests of plain data, seeds derived from it, lines sealed by it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from trainables.spec import canonical_json

__all__ = ["derived_seed", "digest", "seal_is_intact", "sealed"]


def digest(data: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON of ``data``."""
    return _sha256(data)[:16]


def derived_seed(*parts: Any) -> int:
    """A seed below 2^32 that depends on all parts and on nothing else."""
    return int(_sha256(list(parts))[:8], 16)


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` with the SHA-256 of its canonical JSON under ``"sha256"``."""
    rest = {key: value for key, value in data.items() if key != "sha256"}
    return {**rest, "sha256": _sha256(rest)}


def seal_is_intact(data: Mapping[str, Any]) -> bool:
    """Whether the ``"sha256"`` of ``data`` is that of the rest."""
    try:
        return bool(sealed(data)["sha256"] == data.get("sha256"))
    except (ValueError, RecursionError):
        return False


def _sha256(data: Any) -> str:
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()
