"""Study files: what is refused, where, and what is offered instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweeps_fakes import study_data

from sweeps.definition.study import Choices, Constant, Range, parse_setting
from sweeps.definition.study_file import (
    find_study,
    load_study,
    packaged_studies,
    parse_study,
    read_yaml,
)
from sweeps.errors import StudyError


def refusal(**changes: Any) -> str:
    with pytest.raises(StudyError) as caught:
        parse_study(study_data(**changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bugdet": {"trials": 3}}, "unknown key 'bugdet' (did you mean 'budget'?)"),
        ({"budget": {"trails": 3}}, "budget: unknown key 'trails' (did you mean 'trials'?)"),
        ({"budget": {"trials": 0}}, "budget.trials: 0 is not valid"),
        ({"budget": {"trials": "3"}}, "budget.trials: '3' is not valid"),
        ({"budget": {"trials": 2.5}}, "budget.trials: 2.5 is not valid"),
        ({"budget": 5}, "budget: 5 is not valid; it should be a mapping with the keys trials"),
        ({"replicate": {}}, "replicate: the key 'seeds' is missing"),
        ({"fixed_weights": {"sources": []}}, "fixed_weights.sources"),
        ({"fixed_weights": {"sources": ["uw"], "beta": 1.0}}, "fixed_weights.beta: 1.0"),
        ({"weight_sweep": {"points": "many"}}, "weight_sweep.points: 'many' is not valid"),
        ({"weight_sweep": {"points": 3, "design": "grid"}}, "'lattice' or 'sobol'"),
        ({"search_space": {"learning_rate": 1.0}}, "search_space: unknown key 'learning_rate'"),
        ({"search_space": {"lr": -1.0}}, "search_space.lr: -1.0 is out of range; it must be > 0"),
        ({"search_space": {"lr": {"low": 0.1}}}, "search_space.lr: a range needs both low and"),
        ({"search_space": {"lr": {"low": 1, "high": 0.1}}}, "low = 1 is above high = 0.1"),
        (
            {"search_space": {"weight_decay": {"low": 0.0, "high": 0.1, "log": True}}},
            "search_space.weight_decay: a logarithmic range needs low > 0",
        ),
        ({"search_space": {"lr": {"low": 0.1, "high": 1, "step": 1}}}, "no key 'step'"),
        ({"search_space": {"dropout": [0.1, 1.0]}}, "search_space.dropout: 1.0 is out of range"),
        ({"search_space": {"lr": [0.1, "fast"]}}, "search_space.lr: 'fast' is not a number"),
        ({"search_space": {"lr": float("nan")}}, "search_space.lr: nan is not a finite number"),
        ({"name": "../escape"}, "name: '../escape' is not valid"),
        ({"name": ""}, "name: '' is not valid"),
        ({"methods": []}, "methods: [] is not valid; it should have at least 1 item"),
        ({"name": 3}, "name: 3 is not valid; it should be a valid string"),
        ({"description": "x" * 3000}, "is not valid; it should have at most 2000 characters"),
        ({"resources": {"gpus_per_trial": 1.5}}, "resources.gpus_per_trial: 1.5 is not valid"),
        ({"methods": [{"label": "x"}]}, "methods.0: the key 'name' is missing"),
        ({"methods": [{"name": "ls", "label": "a/b"}]}, "methods.0.label: 'a/b' is not valid"),
        ({"seed": -1}, "seed: -1 is not valid"),
        ({"resources": {"concurrent": 0}}, "resources.concurrent: 0 is not valid"),
        ({"problem": None}, "the key 'problem' is missing"),
    ],
)
def test_each_mistake_is_named_with_its_place(changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(**changes)


def test_unknown_key_lists_all_valid_keys() -> None:
    message = refusal(budget={"trails": 3})
    assert "valid keys: trials, seeds" in message


def test_a_study_must_be_a_mapping() -> None:
    with pytest.raises(StudyError, match="a study is a mapping with the keys name"):
        parse_study(["quickstart"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [", "line 1: not valid YAML"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is given twice"),
        ("a: &x [1]\nb: *x", "line 2: YAML aliases are not allowed"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("[" * 5000, "nested too deeply"),
        ("a: \x07", "not valid YAML"),
    ],
)
def test_yaml_that_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=expected) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


def test_too_large_or_binary_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(StudyError, match="larger than 1,000,000 bytes"):
        read_yaml(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="not UTF-8"):
        read_yaml(path)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "0.001", "+1e-03"])
def test_exponents_are_numbers_with_and_without_a_point(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"lr: {text}", encoding="utf-8")
    assert read_yaml(path) == {"lr": 0.001}


def test_unknown_packaged_study_names_the_packaged_ones() -> None:
    with pytest.raises(StudyError, match=r"no packaged study 'quickstrat'.*quickstart.*did you"):
        find_study("quickstrat")


def test_missing_file_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nothing\.yaml does not exist"):
        find_study(str(tmp_path / "nothing.yaml"))
    with pytest.raises(StudyError, match="is a folder"):
        find_study(f"{tmp_path}/")


def test_errors_in_a_file_begin_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\n", encoding="utf-8")
    with pytest.raises(StudyError, match=r"mine\.yaml: the key 'problem' is missing"):
        load_study(str(path))


def test_packaged_studies_have_their_file_names() -> None:
    assert "quickstart" in packaged_studies()
    for name in packaged_studies():
        assert load_study(name).name == name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, Constant(0.5)),
        ([0.1, 0.2], Choices((0.1, 0.2))),
        ([0.1], Constant(0.1)),
        ({"low": 1, "high": 2}, Range(1, 2)),
        ({"low": 1, "high": 2, "log": True}, Range(1, 2, log=True)),
        ({"low": 2, "high": 2}, Constant(2)),
        (None, Constant(None)),
    ],
)
def test_settings(value: Any, expected: object) -> None:
    assert parse_setting(value) == expected


def test_an_empty_list_leaves_nothing_to_choose() -> None:
    with pytest.raises(ValueError, match="leaves nothing to choose"):
        parse_setting([])
