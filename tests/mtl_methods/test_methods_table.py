"""docs/methods.md is generated and current, and every declaration it needs is there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mtl_methods import list_methods, list_transforms

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "make_methods_table.py"


@pytest.fixture(scope="module")
def generator():
    specification = importlib.util.spec_from_file_location("make_methods_table", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_committed_file_is_current(generator):
    committed = generator.TARGET.read_text(encoding="utf-8")
    assert committed == generator.document(), "run python docs/make_methods_table.py"


def test_every_method_and_transform_has_a_section(generator):
    text = generator.document()
    for name, info in {**list_methods(), **list_transforms()}.items():
        assert f"### `{name}`" in text
        for parameter in info.hyperparameters:
            assert parameter.description.replace("|", "\\|") in text


def test_check_tells_whether_the_file_is_current(generator, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generator, "TARGET", tmp_path / "methods.md")
    assert generator.main(["--check"]) == 1
    assert "make_methods_table" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name in list_methods() for field in ("summary", "paper", "equation")],
)
def test_declarations_fit_a_table(name, field):
    text = getattr(list_methods()[name], field)
    assert text
    assert "\n" not in text
    assert len(text) <= 140


def test_transforms_declare_sources():
    for info in list_transforms().values():
        assert "\n" not in info.equation
        for parameter in info.hyperparameters:
            assert parameter.source
            assert parameter.description
