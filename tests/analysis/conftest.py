from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_folder import Plan, write_folder

from analysis.loading import load
from analysis.results import Results


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete two-task study."""
    return write_folder(tmp_path_factory.mktemp("study"), Plan(sensitivity=(1.0, 2.0, 5.0, 10.0)))


@pytest.fixture(scope="session")
def results(folder: Path) -> Results:
    return load(folder)
