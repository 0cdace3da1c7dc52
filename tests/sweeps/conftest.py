"""Makes the fakes importable, and tests of plans independent of the speed of the disk."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_fsync(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small records are written; that they reach the disk is not what is tested."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
