"""The command line: exit codes, and bad input as one sentence before Ray starts."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sweeps_fakes import execute, hashed_value, make_plan, resolved_study, study_data

import sweeps.commands.cli
from sweeps.folder.results import ResultsFolder
from sweeps.on_ray.ray_session import RaySession
from sweeps.planning.trials import Trial
from sweeps.running.preflight import check_held_out
from trainables.record import read_record, write_record


def fairsweep(
    *arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fairsweep", *arguments])
    with pytest.raises(SystemExit) as caught:
        sweeps.commands.cli.main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """Runs the command line in this process: ``command("check", "x.yaml")``."""
    return lambda *arguments: fairsweep(*arguments, monkeypatch=monkeypatch, capsys=capsys)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the seconds that figures take where the report is not what is tested."""
    monkeypatch.setattr("sweeps.running.runner.write_report", lambda folder: folder / "report.html")


def write_study(folder: Path, **changes: object) -> str:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study_data(**changes)), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"methods": ["fairgard"]}, "did you mean 'fairgrad'"),
        ({"problem": {"name": "multi_digit"}}, "did you mean 'multi_digits'"),
        ({"problem": {"name": "multi_digits", "tasks": "CL_XX"}}, "CL, CR, RL, RR"),
        ({"bugdet": 1}, "did you mean 'budget'"),
        ({"methods": ["ls", {"name": "fairgrad", "alpha": -1}], "fixed_weights": None}, "alpha"),
        ({"resources": {"gpus_per_trial": 1}}, "this machine has none that PyTorch can use"),
        ({"resources": {"cpus_per_trial": 1000}}, "takes 1000 processors, and this machine has 4"),
        ({"trackers": {"mlflow": True}}, "trackers.mlflow needs the package mlflow, which is not"),
        ({"trackers": {"tensorboard": True}}, "trackers.tensorboard needs the package tensorboard"),
    ],
)
@pytest.mark.parametrize("action", ["run", "check"])
def test_bad_input_is_one_sentence_and_code_2_before_ray(
    action: str,
    changes: dict[str, object],
    expected: str,
    tmp_path: Path,
    command: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ray.init", lambda *a, **k: pytest.fail("Ray was started"))
    monkeypatch.setattr("sweeps.on_ray.capacity.available_cpus", lambda: 4)
    monkeypatch.setattr("sweeps.on_ray.capacity.available_gpus", lambda: 0)
    for package in ("mlflow", "tensorboardX"):
        monkeypatch.setitem(sys.modules, package, None)  # as if they were not installed
    path = write_study(tmp_path, **changes)
    results = tmp_path / "results"
    code, out, err = command(action, path, "--results", str(results))  # type: ignore[operator]
    assert code == 2
    assert err.count("\n") == 1
    assert expected in err
    assert out == ""
    assert not results.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "No such command"),
        (["run"], "Missing argument"),
        (["run", "quickstrat"], "(did you mean 'quickstart'?)"),
        (["check", "nothing.yaml"], "does not exist"),
        (["methods", "fairgard"], "did you mean 'fairgrad'"),
        (["problems", "digits"], "valid: "),
        (["report", "no/such/folder"], "there is no results folder"),
        (["run", "quickstart", "--resutls", "x"], "No such option"),
    ],
)
def test_bad_arguments_are_one_sentence_and_code_2(
    arguments: list[str], expected: str, command: object
) -> None:
    code, _out, err = command(*arguments)  # type: ignore[operator]
    assert code == 2
    assert err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize("action", ["run", "check"])
@pytest.mark.parametrize("place", ["file", "file/inside", "thesis"])
def test_a_place_where_no_results_can_be_is_refused_before_any_training(
    action: str, place: str, tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", lambda *a, **k: pytest.fail("Ray was started"))
    (tmp_path / "file").write_text("precious", encoding="utf-8")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious", encoding="utf-8")
    code, _out, err = command(  # type: ignore[operator]
        action, write_study(tmp_path), "--results", str(tmp_path / place)
    )
    assert code == 2
    assert err.count("\n") == 1
    expected = "holds other files (thesis.tex)" if place == "thesis" else "file is a file"
    assert expected in err
    assert (tmp_path / "file").read_text(encoding="utf-8") == "precious"
    assert len(list((tmp_path / "thesis").iterdir())) == 1


@pytest.mark.parametrize("action", ["run", "check"])
def test_results_of_another_study_are_refused_before_any_training(
    action: str, tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", lambda *a, **k: pytest.fail("Ray was started"))
    with ResultsFolder(tmp_path / "r", resolved_study(name="theirs")):
        pass
    code, _out, err = command(  # type: ignore[operator]
        action, write_study(tmp_path), "--results", str(tmp_path / "r")
    )
    assert code == 2
    assert "belongs to the study 'theirs'" in err
    assert not list((tmp_path / "r" / "ledger").iterdir())


def test_check_counts_trials_and_runs_nothing(tmp_path: Path, command: object) -> None:
    results = tmp_path / "r"
    code, out, err = command(  # type: ignore[operator]
        "check", write_study(tmp_path), "--results", str(results)
    )
    assert code == 0
    assert err == ""
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert [row[:3] for row in cells if len(row) == 4][:6] == [
        ["baselines", "16", "0"],
        ["search", "18", "0"],
        ["replicate", "6", "0"],
        ["fixed_weights", "2", "0"],
        ["weight_sweep", "3", "0"],
        ["all", "45", "0"],
    ]
    assert "estimated time: about" in out
    assert "nothing was run apart from a few timed steps" in out
    assert not results.exists()


@pytest.mark.parametrize("action", ["run", "check"])
@pytest.mark.parametrize(
    ("batch_size", "fraction", "expected"),
    [
        (32, 0.9999, "0.9999 of 64 training items leaves moml 1 to train on, fewer than a batch"),
        (32, 0.6, "leaves moml 26 to train on, fewer than a batch of 32; valid: at most 0.5"),
        (8, 0.9, "leaves moml 6 to train on, fewer than a batch of 8; valid: at most 0.875"),
        (256, 0.6, "leaves moml 26 to train on, fewer than half of them; valid: at most 0.5"),
    ],
)
def test_too_little_to_train_on_is_refused_before_training(
    action: str,
    batch_size: int,
    fraction: float,
    expected: str,
    tmp_path: Path,
    command: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ray.init", lambda *a, **k: pytest.fail("Ray was started"))
    path = write_study(
        tmp_path,
        methods=["ls", "moml"],
        protocol={"epochs": 2, "batch_size": batch_size, "inner_validation": fraction},
        fixed_weights=None,
    )
    code, _out, err = command(  # type: ignore[operator]
        action, path, "--results", str(tmp_path / "r")
    )
    assert code == 2
    assert err.startswith("fairsweep: protocol.inner_validation: ")
    assert expected in err


@pytest.mark.parametrize(("batch_size", "fraction"), [(32, 0.5), (8, 0.875), (256, 0.5)])
def test_a_batch_or_half_of_the_items_is_enough_to_train_on(
    batch_size: int, fraction: float
) -> None:
    protocol = {"epochs": 2, "batch_size": batch_size, "inner_validation": fraction}
    study = resolved_study(methods=["ls", "moml"], protocol=protocol, fixed_weights=None)
    check_held_out(study, study.problem.load(None))


def test_methods_that_hold_nothing_out_train_on_everything() -> None:
    study = resolved_study(protocol={"epochs": 2, "batch_size": 32, "inner_validation": 0.9999})
    check_held_out(study, study.problem.load(None))


def test_check_says_what_is_searched_of_weights(tmp_path: Path, command: object) -> None:
    path = write_study(
        tmp_path,
        methods=["ls", {"name": "ls", "label": "w", "weights": "simplex"}],
        fixed_weights=None,
        start_from=[{"method": "w", "weights": {"CL": 0.5, "RR": 1.5}}],
    )
    code, out, _ = command("check", path, "--results", str(tmp_path / "r"))  # type: ignore[operator]
    assert code == 0
    assert "method.weights on the simplex of 2 tasks, training.lr 0.0005 to 0.01 (log)" in out
    assert "w starts from weights.CL = 0.5, weights.RR = 1.5" in out
    assert "0.999999" not in out


def test_check_for_a_cluster_does_not_ask_this_machine(
    tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.on_ray.capacity.available_cpus", lambda: 4)
    path = write_study(tmp_path, resources={"cpus_per_trial": 6, "concurrent": 3})
    arguments = ("check", path, "--results", str(tmp_path / "r"))
    assert command(*arguments)[0] == 2  # type: ignore[operator]
    code, out, err = command(*arguments, "--address", "10.0.0.1:6379")  # type: ignore[operator]
    assert code == 0, err
    assert "3 trials at once" in out


def test_check_says_that_fewer_trials_fit_than_are_asked_for(
    tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.on_ray.capacity.available_cpus", lambda: 4)
    path = write_study(tmp_path, resources={"cpus_per_trial": 2, "concurrent": 7})
    code, out, err = command("check", path, "--results", str(tmp_path / "r"))  # type: ignore[operator]
    assert code == 0, err
    assert "resources.concurrent: 2 of 7 trials fit at once" in out
    assert "2 trials at once" in out


def test_check_of_a_study_that_has_begun_counts_what_has_ended(
    tmp_path: Path, command: object
) -> None:
    results = tmp_path / "r"
    with ResultsFolder(results, resolved_study()):
        execute(make_plan(resolved_study(), results), results, limit=20)
    before = sorted(results.rglob("*"))
    code, out, _ = command(  # type: ignore[operator]
        "check", write_study(tmp_path), "--results", str(results)
    )
    assert code == 0
    assert "│ all           │ 45     │ 20    │" in out
    assert sorted(results.rglob("*")) == before


def test_report_rebuilds_everything_from_the_ledger(tmp_path: Path, command: object) -> None:
    results = tmp_path / "r"
    with ResultsFolder(results, resolved_study()):
        execute(make_plan(resolved_study(), results), results)
    code, out, err = command("report", str(results))  # type: ignore[operator]
    assert code == 0, err
    for name in ("trials.parquet", "epochs.parquet", "summary.csv", "report.html"):
        assert (results / name).stat().st_size > 0
    assert "fairgrad" in out
    assert str(results / "report.html") in out


def test_records_of_trials_that_nobody_plans_do_not_empty_the_tables(
    tmp_path: Path, command: object
) -> None:
    results = tmp_path / "r"
    with ResultsFolder(results, resolved_study()):
        execute(make_plan(resolved_study(), results), results)
    for path in (results / "ledger").iterdir():
        record = read_record(path)
        record["trial_id"] = path.stem[::-1]
        write_record(path.with_stem(path.stem[::-1]), record)
        path.unlink()
    code, _, err = command("report", str(results))  # type: ignore[operator]
    assert code == 2
    assert err.count("\n") == 1
    assert "none of the" in err
    assert not (results / "trials.parquet").exists()


@pytest.mark.usefixtures("no_report")
def test_a_finished_study_is_reported_again_without_starting_ray(
    tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", lambda *a, **k: pytest.fail("Ray was started"))
    results = tmp_path / "r"
    with ResultsFolder(results, resolved_study()):
        execute(make_plan(resolved_study(), results), results)
    code, out, err = command(  # type: ignore[operator]
        "run", write_study(tmp_path), "--results", str(results)
    )
    assert code == 0, err
    assert "45 trials had ended before and are not repeated" in out
    log = (results / "fairsweep.log").read_text(encoding="utf-8")
    assert "all trials have ended" in log


@pytest.mark.usefixtures("no_report")
def test_failed_trials_make_exit_code_3(
    tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "r"
    last = "weight_sweep"
    with ResultsFolder(results, resolved_study()):
        execute(
            make_plan(resolved_study(), results),
            results,
            lambda t: ("failed" if t.phase == last else "finished", 0.0),
        )
    # Failed trials are tried again; here they are taken as they are.
    monkeypatch.setattr("sweeps.folder.ledger.Ledger.forget_failures", lambda self: 0)
    code, out, err = command(  # type: ignore[operator]
        "run", write_study(tmp_path), "--results", str(results)
    )
    assert code == 3, err
    assert out.count("failed: weight_sweep") == 3
    assert "made to be failed" in out


@pytest.mark.usefixtures("no_report")
def test_diverged_trials_are_listed_and_accounted_for(tmp_path: Path, command: object) -> None:
    results = tmp_path / "r"
    with ResultsFolder(results, resolved_study()):
        execute(
            make_plan(resolved_study(), results),
            results,
            lambda t: ("diverged" if t.phase == "weight_sweep" else "finished", 0.0),
        )
    code, out, err = command(  # type: ignore[operator]
        "run", write_study(tmp_path), "--results", str(results)
    )
    assert code == 0, err
    assert out.count("diverged: weight_sweep") == 3


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("phase", ["search", "replicates of a baseline"])
def test_what_was_left_out_or_replaced_is_said_and_left_out_makes_exit_code_3(
    phase: str, tmp_path: Path, command: object
) -> None:
    def outcome(trial: Trial) -> tuple[str, float]:
        bad = (
            trial.variant == "uw"
            if phase == "search"
            else trial.variant == "stl:CL" and trial.seed >= 1000
        )
        return ("diverged", math.nan) if bad else hashed_value(trial)

    results = tmp_path / "r"
    with ResultsFolder(results, resolved_study()):
        execute(make_plan(resolved_study(), results), results, outcome)
    code, out, err = command(  # type: ignore[operator]
        "run", write_study(tmp_path), "--results", str(results)
    )
    assert err == ""
    if phase == "search":
        assert code == 3
        expected = "replicate of uw was left out: no configuration of uw finished"
        assert "2 of 45 trials were left out" in out
    else:
        assert code == 0
        expected = "none of the 2 replicates of stl:CL finished; methods are compared with"
    assert out.count(expected) == 2  # when it is found, and at the end
    assert expected in (results / "fairsweep.log").read_text(encoding="utf-8")
    notices = json.loads((results / "manifest.json").read_text(encoding="utf-8"))["notices"]
    assert len(notices) == 1
    assert expected in notices[0]


@pytest.mark.parametrize(
    "where", ["sweeps.definition.study_file.load_study", "sweeps.running.runner.write_report"]
)
def test_an_interrupt_outside_the_sweep_says_how_to_continue(
    where: str, tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    results = tmp_path / "r s"
    with ResultsFolder(results, resolved_study()):
        execute(make_plan(resolved_study(), results), results)
    monkeypatch.setattr(where, interrupted)
    path = write_study(tmp_path)
    code, out, err = command("run", path, "--results", str(results))  # type: ignore[operator]
    assert code == 130
    assert err == ""
    assert out.endswith(f"Continue with: fairsweep run {path} --results '{results}'\n")


@pytest.mark.parametrize("where", ["while trials run", "at the start of Ray"])
def test_a_sweep_that_ray_breaks_off_ends_with_a_sentence_and_code_3(
    where: str, tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("the raylet is gone")

    @contextlib.contextmanager
    def session(*_: object) -> Iterator[RaySession]:
        if where == "at the start of Ray":
            breaks()
        yield RaySession(1, tmp_path)

    monkeypatch.setattr("sweeps.on_ray.ray_session.ray_session", session)
    monkeypatch.setattr("sweeps.on_ray.tuner.fit", breaks)
    results = tmp_path / "r"
    code, out, err = command(  # type: ignore[operator]
        "run", write_study(tmp_path), "--results", str(results)
    )
    assert code == 3
    assert err.count("\n") == 1
    assert "run the same command again to continue" in err
    assert "Traceback" not in out
    assert "RuntimeError: the raylet is gone" in (results / "ray.log").read_text(encoding="utf-8")
    assert (results / "trials.parquet").is_file()


def test_methods_and_problems_are_listed_with_sources(command: object) -> None:
    code, out, _ = command("methods")  # type: ignore[operator]
    assert code == 0
    assert all(name in out for name in ("fairgrad", "ls", "uw"))
    code, out, _ = command("methods", "fairgrad")  # type: ignore[operator]
    assert code == 0
    assert "alpha" in out
    code, out, _ = command("problems", "multi_digits")  # type: ignore[operator]
    assert code == 0
    assert "CL_RR" in out


def test_the_list_names_families_papers_and_transforms(command: object) -> None:
    from mtl_methods import list_methods, list_transforms

    code, out, _ = command("methods")  # type: ignore[operator]
    assert code == 0
    for head in ("family", "what it does", "backward passes", "paper", "loss transforms"):
        assert head in out
    words = set(out.split())
    assert words >= set(list_methods()) | set(list_transforms())
    assert words >= {"loss", "gradient", "bilevel"}


@pytest.mark.parametrize("name", ["cagrad", "ldc_mtl", "moml", "log+uw+cagrad"])
def test_a_method_shows_its_rule_and_scale_law(command: object, name: str) -> None:
    from mtl_methods import method_info

    info = method_info(name)
    code, out, _ = command("methods", name)  # type: ignore[operator]
    assert code == 0
    flat = " ".join(out.split())
    assert f"rule: {info.equation}" in flat
    assert f"all losses times s: weights {info.scale_law}" in flat
    assert f"paper: {info.paper}" in flat


def test_a_transform_is_shown_like_a_method(command: object) -> None:
    from mtl_methods import list_transforms

    for name, transform in list_transforms().items():
        code, out, err = command("methods", name)  # type: ignore[operator]
        assert code == 0, err
        flat = " ".join(out.split())
        assert f"rule: {transform.equation}" in flat
        assert f"{name}+ls" in flat
        assert all(parameter.name in out for parameter in transform.hyperparameters)


def test_version(command: object) -> None:
    from mtl_methods import __version__

    assert command("--version")[:2] == (0, f"fairsweep {__version__}\n")  # type: ignore[operator]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['fairsweep', '--help']\n"
        "from sweeps.commands.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'ray', 'optuna', 'pandas', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
