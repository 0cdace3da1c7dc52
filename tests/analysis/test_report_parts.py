"""Parts of the report: tables in three formats, safe JSON, findings and methods text."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_folder import Plan, write_folder

from analysis import load
from analysis.figures.dynamics import LOSSES_CAPTION, TIME_CAPTION
from analysis.figures.trade_off import CAPTION as TRADE_OFF_CAPTION
from analysis.figures.tuning import BEST_CAPTION
from analysis.report import write_report
from analysis.report.cautions import warnings
from analysis.report.findings import findings
from analysis.report.methods_text import methods_text
from analysis.report.page import sortable
from analysis.report.payload import payload, script_json
from analysis.report.run_tables import neighbours_table, time_table
from analysis.report.sections import sections
from analysis.report.study import StudyAnalysis
from analysis.report.study_tables import fairness_table, summary_table
from analysis.report.tables import Column, Table, escape_latex
from analysis.results import Results
from analysis.sweep import equal_point
from analysis.wording import number


def made(**options: object) -> Table:
    frame = pd.DataFrame(
        {
            "label": ["A_1", "B & C", "stl"],
            "kind": ["method", "method", "single-task"],
            "score": [-1.234, np.nan, 0.0],
            "score_se": [0.1, np.nan, np.nan],
            "p": [1e-9, 0.5, np.nan],
            "sure": [True, False, False],
        }
    )
    columns = [
        Column("label", "method"),
        Column("score", "Δm [%] ↓", 2, "score_se", "high"),
        Column("p", "p", 3, floored=True),
        Column("sure", "sure"),
    ]
    return Table("t", "Title", frame, columns, row_variant="label", **options)


def test_cells_round_and_mark_what_is_missing_and_best() -> None:
    rows = [[cell.text for cell in row] for row in made().cells]
    assert rows == [
        ["A_1", "−1.23 ± 0.10", "< 0.001", "yes"],
        ["B & C", "–", "0.500", "no"],
        ["stl", "0.00", "–", "no"],
    ]
    assert [row[1].best for row in made().cells] == [True, False, False]
    assert made().numeric == [False, True, True, True]


def test_csv_keeps_every_digit_and_errors() -> None:
    rows = list(csv.reader(io.StringIO(made().csv())))
    assert rows[0] == ["label", "score", "score_se", "p", "sure"]
    assert rows[1][1:4] == ["-1.234", "0.1", "1e-09"]


def test_latex_escapes_and_sets_the_best_bold() -> None:
    latex = made().latex()
    assert r"\begin{tabular}{lrrr}" in latex
    assert r"A\_1 & \textbf{$-$1.23 $\pm$ 0.10} & \textless{} 0.001 & yes \\" in latex
    assert r"B \& C" in latex
    assert r"$\Delta$m [\%] $\downarrow$" in latex
    assert escape_latex("a_b{c}") == r"a\_b\{c\}"


def test_latex_of_a_whole_report_needs_no_special_engine(results: Results) -> None:
    study = StudyAnalysis(results)
    tables = [table for section in sections(study, {}) for table in section.tables]
    assert len(tables) > 10
    for table in tables:
        assert table.latex().isascii(), table.name
    assert all(escape_latex(text).isascii() for text in methods_text(study))
    assert escape_latex("α ≥ ∞ χ² “x”") == (
        r"$\alpha$ $\geq$ $\infty$ $\chi$\textsuperscript{2} ``x''"
    )


def test_infinity_sorts_last_in_the_browser_too() -> None:
    assert [sortable(v) for v in (np.inf, -np.inf, 2.0)] == ["Infinity", "-Infinity", "2.0"]


def test_long_tables_show_only_their_head_but_export_everything() -> None:
    table = made(most_rows=2)
    assert len(table.cells) == 2
    assert table.hidden_rows == 1
    assert len(table.csv().splitlines()) == 4


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-0.001, 2, "0.00"), (np.nan, 2, "–"), (np.inf, 0, "∞"), (-3.0, 0, "−3")],
)
def test_numbers(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


def test_a_column_shows_significant_digits_whatever_the_size() -> None:
    values = [0.00123456, 0.0999951, 2.0, 97.23, -1234.5, 0.0, np.nan]
    column = Column("value", "value", 0, significant=3)
    table = Table("t", "Title", pd.DataFrame({"value": values}), [column])
    texts = [row[0].text for row in table.cells]
    assert texts == ["0.00123", "0.100", "2.00", "97.2", "−1234", "0", "–"]


def test_small_values_of_different_kinds_are_told_apart(tmp_path: Path) -> None:
    plan = Plan(seeds=2, sensitivity=(0.0002, 0.0004, 2.0))
    study = StudyAnalysis(load(write_folder(tmp_path / "f", plan)))
    table = neighbours_table(study)
    assert table is not None
    errors = [row[2].text for row in table.cells if row[0].text == "single-task RR"]
    assert len(errors) == len(set(errors)) == 4  # all of about 0.02
    table = fairness_table(study)
    assert table is not None
    assert {row[2].text for row in table.cells} == {"0.000200", "0.000400", "2.00"}


def test_the_fairest_is_said_to_be_so_on_average_over_seeds(
    results: Results, tmp_path: Path
) -> None:
    once = load(write_folder(tmp_path / "f", Plan(seeds=1)))
    for study, wanted in ((results, True), (once, False)):
        text = next(f.text for f in findings(StudyAnalysis(study)) if "worst task best" in f.text)
        assert ("worst task best: on average over seeds it " in text) is wanted


def test_captions_say_what_is_drawn() -> None:
    assert "each relative to the mean over methods at the first epoch" in LOSSES_CAPTION
    assert "hollow circles: means of weights that others dominate" in TRADE_OFF_CAPTION
    assert "still improves" in BEST_CAPTION


def test_json_cannot_leave_its_script_element() -> None:
    attack = {"a": "</script><script>alert(1)</script><!-- &amp;\u2028"}
    text = script_json(attack)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == attack


def test_payload_has_every_finished_multi_task_trial(results: Results) -> None:
    data = payload(results)
    multi = results.finished[results.finished["phase"] != "baselines"]
    assert len(data["points"]) == len(multi)
    names = [v["name"] for v in data["variants"]]
    point = next(p for p in data["points"] if names[p[0]] == "fairgrad" and p[1] == 0)
    row = multi.set_index("trial_id").loc[point[3]]
    assert point[2] == row["seed"]
    assert "alpha = 2" in point[4]
    metrics = [metric.column("validation") for metric in results.metrics]
    epochs = results.epochs[results.epochs["trial_id"] == point[3]].set_index("epoch")
    best = epochs.loc[row["best_epoch"]]
    losses = [best["validation_loss.CL"], best["validation_loss.RR"]]
    assert point[5] == pytest.approx([*row[metrics], *losses], rel=1e-4)
    assert point[6][:2] == pytest.approx([row["test.CL.accuracy"], row["test.RR.mse"]], rel=1e-4)
    assert point[6][2:] == [None, None]
    assert [m["label"] for m in data["metrics"][2:]] == ["CL loss ↓", "RR loss ↓"]
    points = {v["name"]: v["point"] for v in data["variants"]}
    assert points["ls"] == equal_point(results) == "ls"
    assert points["uw"] == ""
    families = {v["name"]: v["family"] for v in data["variants"]}
    assert families["fixed(cagrad)"] == "cagrad"
    assert all(not v["family"] for v in data["variants"] if v["swept"])
    json.loads(script_json(data))


def test_findings_say_the_numbers_of_the_tables(results: Results) -> None:
    study = StudyAnalysis(results)
    texts = [finding.text for finding in findings(study)]
    best = study.methods.iloc[0]
    assert texts[0].startswith(f"{best['label']} has the best mean Δmtm: ")
    assert number(best["delta_mtm"], 2) in texts[0]
    assert "over 4 seeds" in texts[0]
    assert any(text.startswith("Linear scalarisation (LS)") and "place 5 of 5" in text
               for text in texts)  # fmt: skip
    assert any("UW and LS fall behind" in text for text in texts)
    assert any("fixed weights from CAGrad" in text.lower().replace("cagrad", "CAGrad")
               for text in texts)  # fmt: skip
    assert texts[-1].startswith(f"Of {len(results.trials)} trials ") == bool(len(results.diverged))


def test_warnings_name_what_weakens_the_evidence(tmp_path: Path) -> None:
    plan = Plan(seeds=1, sweep=3, extra={"fixture": True})
    results = load(write_folder(tmp_path / "f", plan))
    trials = results.trials
    keep = ~((trials["variant"] == "ls") & (trials["phase"] == "search"))
    keep |= trials.index % 2 == 0
    once = ~((trials["phase"] == "weight_sweep") & (trials["seed"] > 0))
    texts = " ".join(warnings(StudyAnalysis(replace(results, trials=trials[keep & once]))))
    for part in (
        "generated fixture",
        "One seed only for ",
        "weight sweep was run with one seed",
        "search budgets were unequal",
    ):
        assert part in texts


def test_methods_text_states_protocol_ranges_budgets_and_versions(results: Results) -> None:
    text = " ".join(methods_text(StudyAnalysis(results)))
    for part in (
        "multi_digits (tasks CL_RR), 2 tasks: CL (loss: nll; metrics: accuracy, higher is better)",
        "epochs 8, batch_size 128, optimizer adam",
        "with 6 configurations each",
        "lr from 0.0001 to 0.01 (logarithmic), dropout 0.1",
        "with 4 seeds that the search had not used",
        "7 points of the weight simplex",
        "torch 2.13.0",
        "Holm",
    ):
        assert part in text


def test_findings_name_the_methods_and_phases_that_never_got_a_trial(tmp_path: Path) -> None:
    budgets = {"trials": 6, "replicate_seeds": 4, "fixed_weights_seeds": 4, "baseline_seeds": 4}
    plan = Plan(seeds=2, fixed=(), sweep=0, extra={"budgets": budgets})
    results = load(write_folder(tmp_path / "f", plan))
    known = results.trials[~results.trials["variant"].isin(["uw", "famo"])]
    study = StudyAnalysis(replace(results, trials=known))
    texts = [finding.text for finding in findings(study)]
    assert (
        "Planned, but without a single trial so far: UW and FAMO; nothing is known of them."
        in texts
    )
    assert "Planned phase without a single trial so far: fixed weights." in texts
    assert not any("UW" in text for text in warnings(study))
    said = " ".join(finding.text for finding in findings(StudyAnalysis(results)))
    assert "nothing is known" not in said


def test_a_study_of_which_only_baselines_ended_is_reported_without_a_problem(
    tmp_path: Path,
) -> None:
    budgets = {"trials": 6, "replicate_seeds": 4, "baseline_seeds": 4}
    folder = write_folder(tmp_path / "f", Plan(seeds=2, extra={"budgets": budgets}))
    trials = pd.read_parquet(folder / "trials.parquet")
    trials = trials[(trials["phase"] == "baselines") & (trials["seed"] < 100)]
    trials = trials.drop(columns=["test.CL.accuracy", "validation.RR.mse"])
    trials.loc[trials["variant"] == "stl:RR", "status"] = "diverged"
    trials.to_parquet(folder / "trials.parquet")
    paths = write_report(folder)
    html = paths.report.read_text()
    assert "Problem with the results folder" not in html
    assert "without a single trial so far: LS, UW, FAMO, CAGrad and FairGrad" in html
    assert "without a single trial so far: search and replicates" in html
    summary = pd.read_csv(paths.summary).set_index("variant")
    assert (summary.loc[["ls", "uw", "famo", "cagrad", "fairgrad"], "seeds"] == 0).all()


def test_times_are_said_to_be_wall_time_of_a_shared_machine(results: Results) -> None:
    study = StudyAnalysis(results)
    times = time_table(study)
    assert times is not None
    for caption in (summary_table(study).caption, times.caption, TIME_CAPTION):
        assert "wall time on a machine that other trials or programs may have shared" in caption


def test_one_mean_rank_where_both_say_the_same(tmp_path: Path, results: Results) -> None:
    """One metric a task: no need of two columns. Errors stand beside the ranks."""
    ranks = [c for c in summary_table(StudyAnalysis(results)).columns if "rank" in c.key]
    assert [(c.key, c.error) for c in ranks] == [("mean_rank", "mean_rank_se")]
    three = load(write_folder(tmp_path / "f", Plan(tasks=3, sweep=0, fixed=())))
    keys = [column.key for column in summary_table(StudyAnalysis(three)).columns]
    assert {"mean_rank", "mean_rank_metrics"} <= set(keys)
