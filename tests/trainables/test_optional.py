from __future__ import annotations

import sys

import pytest

from trainables.errors import MissingExtraError
from trainables.optional import optional_import


def test_a_module_that_is_there():
    import json.decoder

    assert optional_import("json.decoder", extra="x", purpose="this") is json.decoder


def test_a_package_that_is_not_there_names_the_extra():
    with pytest.raises(MissingExtraError) as caught:
        optional_import("no_such_package.part", extra="qm9", purpose="this test")
    assert str(caught.value) == (
        "this test needs the package no_such_package, which is not installed; "
        '`python -m pip install -c constraints.txt -e ".[qm9]"` installs it'
    )


def test_a_package_that_is_there_and_broken_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import no_such_dependency\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency") as caught:
        optional_import("broken_package", extra="qm9", purpose="this test")
    assert not isinstance(caught.value, MissingExtraError)
    sys.modules.pop("broken_package", None)
