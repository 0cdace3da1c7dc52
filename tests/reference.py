"""The reference vectors in ``tests/data/reference``, loaded once."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["gradients_of", "load_cases"]

_FILE = Path(__file__).parent / "data" / "reference" / "reference_public.json.gz"


@cache
def _all_cases() -> tuple[dict[str, Any], ...]:
    with gzip.open(_FILE, "rt", encoding="utf-8") as stream:
        return tuple(json.load(stream))


def load_cases(method: str | None = None, variant: str | None = None) -> list[dict[str, Any]]:
    """Return the cases of a method and a variant (all of them where left out), in file order.

    The cases are shared between callers: do not change them. A name that matches nothing is an
    error, so that no test passes for want of cases.
    """
    cases = [
        case
        for case in _all_cases()
        if method in (None, case["method"]) and variant in (None, case["variant"])
    ]
    if not cases:
        raise LookupError(f"no reference case has method {method!r} and variant {variant!r}")
    return cases


def gradients_of(case: dict[str, Any]) -> NDArray[np.float64]:
    """Return the task gradients of a case as its rows, shape (K, m)."""
    return np.array(case["inputs"]["G"], dtype=np.float64)
