"""Study files, results and checkpoints from somebody who means harm."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from sweeps_fakes import TINY, execute, make_plan, resolved_study, resolved_text, study_data

import sweeps.commands.cli
from sweeps.definition.places import check_mirror, check_server, mirror_file
from sweeps.definition.resolve import resolve
from sweeps.definition.study_file import parse_study, read_yaml
from sweeps.errors import ResultsFolderError, StudyError
from sweeps.folder.ledger import Ledger
from sweeps.folder.results import read_manifest, stored_study
from sweeps.running.logs import _Formatter
from sweeps.search.asks import AskLog
from trainables.checkpoint import best_checkpoint_path, checkpoint_path, load_checkpoint
from trainables.data import DataCache
from trainables.errors import CorruptFileError
from trainables.record import read_record, record_path, write_record
from trainables.restore import restore_best
from trainables.run import run_trial
from trainables.spec import canonical_json

# ------------------------------------------------------------------ YAML


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch escaped']",
        "name: !!python/name:os.system ''",
        "name: !!python/object/new:type {args: [x, [], {}]}",
        "!!python/module:os ''",
        "name: !include /etc/passwd",
        "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "a: &a {b: 1}\nc: {<<: *a}",
        "name: &self [*self]",
        "? [1, 2]\n: 3",
        "? {a: 1}\n: 3",
        "name: " + "9" * 5000,
        "{" * 3000,
        "a:\n" + "".join(" " * i + "- \n" for i in range(1, 1200)),
        "x: !!binary not base64 at all",
        "x: !!timestamp 99999-99-99",
        "%YAML 9.9\n---\nname: x",
        "name: x\n---\nname: y",
        "\ufeff" * 3,
        "\x00",
        "name: 'x\nmethods: [ls]",
    ],
)
def test_yaml_that_is_more_than_plain_values_is_one_sentence(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        parse_study(read_yaml(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": {"epochs": 10**400}},
        {"protocol": {"epochs": 10**12}},
        {"seed": 2**63},
        {"seed": -1},
        {"budget": {"trials": 10**18}},
        {"budget": {"trials": 3, "seeds": 10**9}},
        {"weight_sweep": {"points": 10**9, "design": "sobol"}},
        {"weight_sweep": {"points": [[float("inf"), 1.0]]}},
        {"weight_sweep": {"points": [[1e308, 1e308, 1e308]]}},
        {"search_space": {"lr": float("inf")}},
        {"search_space": {"lr": {"low": 1e-320, "high": 10**400}}},
        {"resources": {"stall_seconds": float("inf")}},
        {"resources": {"checkpoint_every_seconds": float("nan")}},
        {"resources": {"concurrent": -(10**30)}},
        {"methods": ["ls"] * 1001},
        {"methods": [{"name": ["ls"] * 50}]},
        {"methods": [{"name": "ls", "weights": {"__class__": 1}}]},
        {"methods": [{"name": "fairgrad", "alpha": 10**400}]},
        {"methods": [{"name": "fairgrad", "alpha": {"low": 1, "high": 10**400}}]},
        {"methods": [{"name": "ls", "weights": [10**400, 1]}]},
        {"problem": {"name": "multi_digits", "train_pairs": 10**400}},
        {"methods": ["__init__"]},
        {"methods": ["../../etc/passwd"]},
        {"problem": {"name": "__import__('os')"}},
        {"problem": {"name": "multi_digits", "__class__": "x"}},
        {"problem": {"name": "multi_digits", "tasks": {"a": {"b": {}}}}},
        {"name": "x" * 65},
        {"name": ".."},
        {"name": "a/b"},
        {"name": "a\x00b"},
        {"name": "a\n"},
        {"name": "\N{RIGHT-TO-LEFT OVERRIDE}lmth.x"},
        {"name": "e\N{COMBINING ACUTE ACCENT}"},
        {"description": ["x"] * 10},
        {1: 2},
        {None: "x"},
        {"": "x"},
        {"budget": {("a", "b"): 1}},
    ],
)
def test_values_that_mean_harm_are_one_sentence(changes: dict[Any, Any]) -> None:
    with pytest.raises(StudyError) as caught:
        resolve(parse_study({**study_data(), **changes}))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 3000
    assert message.isprintable()


@pytest.mark.parametrize(
    "label",
    [
        "",
        "a b",
        "a/b",
        "..\\x",
        "\x1b[31mred",
        "\x9b31mred",
        "\N{RIGHT-TO-LEFT OVERRIDE}sl",
        "l\N{ZERO WIDTH SPACE}s",
        "l\N{ZERO WIDTH JOINER}s",
        "\N{FULLWIDTH LATIN SMALL LETTER L}s",
        "e\N{COMBINING ACUTE ACCENT}",
        "x\N{NO-BREAK SPACE}y",
        "x\N{LINE SEPARATOR}y",
        "\ud800",
        "x" * 65,
    ],
)
def test_labels_cannot_pass_for_something_else(label: str) -> None:
    with pytest.raises(StudyError, match=r"methods\.0\.label: .* is not valid"):
        parse_study(study_data(methods=[{"name": "ls", "label": label}]))


@pytest.mark.parametrize("label", ["α-fair", "日本", "w[1]", "é", "<b>ls", "..", "$(id)"])
def test_labels_that_are_only_odd_stay_where_they_belong(label: str, tmp_path: Path) -> None:
    assert unicodedata.is_normalized("NFKC", label)
    changes = {"methods": [{"name": "ls", "label": label}], "fixed_weights": None}
    study = resolved_study(**changes, weight_sweep=None)
    results = tmp_path / "deep" / "results"
    plan = make_plan(study, results)
    execute(plan, results)
    assert plan.finished
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["results"]


@pytest.mark.parametrize("variant", ["../../x", "/etc/passwd", "..", "a\x00b", "x" * 60])
def test_names_of_searches_are_no_paths(variant: str, tmp_path: Path) -> None:
    log = AskLog(tmp_path / "search", variant, "0123456789abcdef")
    log.append(0, {"a": 1})
    (path,) = (tmp_path / "search").iterdir()
    assert path.suffix == ".jsonl"
    assert [p.name for p in tmp_path.iterdir()] == ["search"]


@pytest.mark.parametrize(
    "mirror",
    [
        "sqlite:////etc/cron.d/x",
        "sqlite:///../x.db",
        "sqlite:///a/b.db",
        "sqlite:///file:/etc/x.db?uri=true",
        "sqlite:///.lock",
        "sqlite:///manifest.json",
        "sqlite://",
        "sqlite+pysqlite:///x.db",
        "postgresql://user:secret@host/db",
        "postgresql://host/db?sslkey=/etc/x",
        "mssql+pyodbc://host/db",
        "file:///etc/passwd",
        "redis://host",
        "/etc/x.db",
        "journal/../x",
        "postgresql://host:99999999/db",
        "x" * 600,
        7,
        {"url": "x"},
    ],
)
def test_a_mirror_stays_in_the_results_folder_or_on_a_server(mirror: Any) -> None:
    with pytest.raises(StudyError, match="mirror") as caught:
        parse_study(study_data(mirror=mirror))
    assert "\n" not in str(caught.value)


def test_mirrors_that_are_fine(tmp_path: Path) -> None:
    for mirror in ("journal", "sqlite:///mirror.db"):
        path = mirror_file(check_mirror(mirror), tmp_path)
        assert path is not None
        assert path.parent == tmp_path
    assert mirror_file(check_mirror("postgresql://me@host:5432/db"), tmp_path) is None


@pytest.mark.parametrize(
    "uri",
    ["file:///etc", "/etc", "sqlite:////etc/x", "https://me:secret@h", "http://", "https://h?x=1"],
)
def test_a_tracking_server_is_a_server(uri: str) -> None:
    with pytest.raises(StudyError, match=r"trackers\.mlflow"):
        parse_study(study_data(trackers={"mlflow": {"uri": uri}}))
    assert check_server("https://host:5000") == "https://host:5000"


def test_a_study_that_is_a_pipe_or_a_device_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "endless.yaml"
    path.symlink_to("/dev/zero")
    with pytest.raises(StudyError, match="larger than"):
        read_yaml(path)


def test_what_a_terminal_would_obey_is_written_out() -> None:
    import logging

    record = logging.LogRecord("sweeps", 20, "x", 1, "a\x1b[31mb\x9bc\u202ed\ne", None, None)
    assert _Formatter().format(record) == "a\\x1b[31mb\\x9bc\\u202ed\ne"


# ------------------------------------------------------------------ results


def sealed_record(path: Path, content: dict[str, Any]) -> None:
    digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()
    path.write_text(json.dumps({**content, "sha256": digest}), encoding="utf-8")


def one_record(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    plan = make_plan(resolved_study(), tmp_path)
    (trial,) = execute(plan, tmp_path, limit=1)
    path = record_path(tmp_path, trial.trial_id)
    return path, read_record(path)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"format": 1, "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"format": 1, "sha256": "x", "a": NaN}',
        b'{"format": 1, "sha256": "x", "a": "\\ud800"}',
        b'{"format": 1, "a": ' + b"9" * 10_000 + b"}",
        b"\xff\xfe",
        b"",
        b"null",
        b'{"format": true}',
    ],
)
def test_records_that_are_no_records_cost_their_trial_alone(content: bytes, tmp_path: Path) -> None:
    path, _ = one_record(tmp_path)
    path.write_bytes(content)
    ledger = Ledger(tmp_path / "ledger").load()
    assert ledger.damaged == [path.name]
    plan = make_plan(resolved_study(), tmp_path)
    execute(plan, tmp_path)
    assert plan.finished
    assert read_record(path)["status"] == "finished"


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": None},
        {"epochs": [1, 2]},
        {"status": "great"},
        {"status": None},
        {"error": "text"},
        {"validation": [1]},
        {"seconds": "1"},
        {"counters": 3},
        {"trial_id": 7},
    ],
)
def test_records_with_a_valid_seal_and_wrong_content_are_refused(
    change: dict[str, Any], tmp_path: Path
) -> None:
    path, record = one_record(tmp_path)
    sealed_record(path, {**record, **change})
    with pytest.raises(CorruptFileError, match="is corrupt"):
        read_record(path)
    assert Ledger(tmp_path / "ledger").load().damaged == [path.name]


def test_records_reach_no_other_file(tmp_path: Path) -> None:
    path, record = one_record(tmp_path)
    record["trial_id"] = "../../escaped"
    write_record(path, record)
    assert Ledger(tmp_path / "ledger").load().records() == []


def test_deeply_nested_manifests_and_asks_are_said(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"[" * 200_000)
    with pytest.raises(ResultsFolderError, match=r"manifest\.json cannot be read"):
        read_manifest(tmp_path)
    log = AskLog(tmp_path / "search", "ls", "x")
    log.append(0, {"a": 1})
    with log.path.open("ab") as file:
        file.write(b"[" * 200_000 + b"\n")
    assert log.load() == {0: {"a": 1}}


def test_a_stored_study_is_data_too(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": 1}', encoding="utf-8")
    (tmp_path / "study.yaml").write_text("!!python/object/apply:os.abort []", encoding="utf-8")
    with pytest.raises(ResultsFolderError, match=r"study\.yaml"):
        stored_study(tmp_path)


# ------------------------------------------------------------------ checkpoints


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def plant(path: Path, payload: object) -> None:
    """Writes a checkpoint with a valid checksum, whatever it holds."""
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"fairsweep-checkpoint 1 " + digest + b"\n" + buffer.getvalue())


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    trial = make_plan(resolved_text(TINY, tmp_path), tmp_path / "plan").next()
    assert trial is not None
    return dict(trial.spec)


def test_a_malicious_checkpoint_is_damaged_and_runs_nothing(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    data = DataCache()
    whole = run_trial(spec, data=data)
    results, bang = tmp_path / "r", tmp_path / "bang"
    trial_id = whole["trial_id"]
    path = checkpoint_path(results, trial_id)
    plant(path, {"format": 1, "trial_id": trial_id, "epoch": 1, "trainer": Bomb(bang)})
    with pytest.raises(CorruptFileError, match="cannot be read"):
        load_checkpoint(path)
    record = run_trial(spec, data=data, results_dir=results, keep_best=True)
    assert not bang.exists()
    assert record["validation"] == whole["validation"]
    plant(best_checkpoint_path(results, trial_id), {"trial_id": trial_id, "model": Bomb(bang)})
    with pytest.raises(CorruptFileError, match="cannot be read"):
        restore_best(results, trial_id, data)
    assert not bang.exists()


@pytest.mark.parametrize(
    "payload", [[1, 2], None, "text", {"format": 1}, {"format": 1, "trial_id": "ID", "epoch": "x"}]
)
def test_a_checkpoint_of_another_shape_makes_the_trial_start_again(
    payload: Any, spec: dict[str, Any], tmp_path: Path
) -> None:
    data = DataCache()
    whole = run_trial(spec, data=data)
    if isinstance(payload, dict) and "trial_id" in payload:
        payload = {**payload, "trial_id": whole["trial_id"]}
    plant(checkpoint_path(tmp_path / "r", whole["trial_id"]), payload)
    record = run_trial(spec, data=data, results_dir=tmp_path / "r")
    assert record["validation"] == whole["validation"]


# ------------------------------------------------------------------ the command line


def test_a_refusal_prints_nothing_that_a_terminal_obeys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yaml"
    data = study_data(**{"\x1b]0;pwned\x07": 1, "methods": ["\x1b[2Jls"]})
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["fairsweep", "check", str(path)])
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    assert caught.value.code == 2
    assert "\x1b" not in capsys.readouterr().err
