"""The audit of published tables finds what is known to be wrong, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import AnalysisError, audit
from analysis.audit.printed import parse_number

PAPERS = Path(__file__).parents[1] / "data" / "papers"

MISPRINTS = {
    "paper_nyuv2.csv": {
        ("fairgrad, Table 2", "delta_m_pct", "IMTL-G"),
        ("ldc_mtl, Table 7", "delta_m_pct", "IMTL-G"),
        ("ldc_mtl, Table 7", "delta_m_pct", "LDC-MTL"),
        ("pivrg_supplement, Table 10", "var_delta_m_i", "Nash-MTL"),
    },
    "paper_qm9.csv": {("ldc_mtl, Table 6", "delta_m_pct", "LDC-MTL")},
    "paper_cityscapes.csv": set(),
    "ldc_ls_sweep_table9.csv": set(),
    "rw_nyuv2_table1.csv": set(),
    "rw_cityscapes_table6.csv": set(),
    "smto_mnist_table3.csv": set(),
    "smto_cityscapes_table4.csv": set(),
    "paper_celeba.csv": set(),
    "smto_qm9_table5.csv": set(),
}


@pytest.mark.parametrize("file", MISPRINTS)
def test_finds_exactly_the_known_misprints(file: str) -> None:
    found = audit.audit(PAPERS / file)
    assert {(c.table, c.metric, row.method) for c, row in found.wrong} == MISPRINTS[file]


@pytest.mark.parametrize(
    ("file", "table", "metric", "convention"),
    [
        ("paper_nyuv2.csv", "fairgrad, Table 2", "delta_m_pct",
         "mean over metrics of relative drops against STL"),
        ("paper_nyuv2.csv", "fairgrad, Table 2", "MR", "mean rank over metrics, dense ranks"),
        ("paper_qm9.csv", "pivrg_supplement, Table 9", "MR", "mean rank over metrics, min ranks"),
        ("paper_nyuv2.csv", "pivrg_supplement, Table 10", "var_delta_m_i",
         "population variance over metrics of drops against STL"),
        ("rw_nyuv2_table1.csv", "random_weighting, Table 1", "delta_p_pct",
         "mean over tasks of relative gains against EW"),
        ("smto_cityscapes_table4.csv", "uniform_loss_vs_smto, Table 4", "delta_mtm_pct_avg",
         "mean over tasks of the columns"),
    ],
)  # fmt: skip
def test_names_the_convention(file: str, table: str, metric: str, convention: str) -> None:
    (column,) = (
        c for c in audit.audit(PAPERS / file).columns if (c.table, c.metric) == (table, metric)
    )
    assert column.convention == convention
    if "qm9" not in file:  # every task has one metric: metrics and tasks coincide
        assert column.undecided == ()


@pytest.mark.parametrize(
    ("file", "table", "home"),
    [
        ("paper_nyuv2.csv", "fairgrad, Table 10", "FairGrad in Table 2"),
        ("paper_cityscapes.csv", "fairgrad, Table 9", "FairGrad in Table 3"),
    ],
)
def test_finds_variants_that_were_ranked_in_another_table(file: str, table: str, home: str) -> None:
    columns = audit.audit(PAPERS / file).columns
    column = next(c for c in columns if (c.table, c.metric) == (table, "MR"))
    expected = f"mean rank over metrics, dense ranks, each in the place of {home}"
    assert expected in (column.convention, *column.undecided)
    assert {row.status for row in column.rows} == {"exact"}


def test_rows_without_a_convention_are_not_called_wrong(tmp_path: Path) -> None:
    rows = [f"{name},acc,{value},higher,A" for name, value in (("X", 1.0), ("Y", 2.0), ("Z", 3.0))]
    rows += [f"{name},MR,{rank},lower,all" for name, rank in (("X", 1.0), ("Y", 3.0), ("Z", 2.0))]
    text = audit.text(audit.audit(write(tmp_path / "t.csv", rows)), every_row=True)
    assert "no convention explains enough rows" in text
    assert "not by this convention" in text
    assert "0 of the printed values cannot be right" in text
    assert text.count("cannot be right") == 1


def test_says_that_two_tasks_with_two_metrics_decide_nothing() -> None:
    columns = audit.audit(PAPERS / "paper_cityscapes.csv").columns
    column = next(c for c in columns if c.table == "fairgrad, Table 3" and c.metric != "MR")
    assert column.undecided == ("mean over tasks of relative drops against STL",)


def test_doubtful_rows_are_possible_but_named() -> None:
    nyuv2 = audit.audit(PAPERS / "paper_nyuv2.csv")
    variance = next(c for c in nyuv2.columns if c.metric == "var_delta_m_i")
    assert [row.method for row in variance.doubtful] == ["DWA"]
    sweep = audit.audit(PAPERS / "ldc_ls_sweep_table9.csv").columns[0]
    assert [row.method for row in sweep.doubtful] == ["LS(w1=0.8,w2=0.2)"]
    row = sweep.doubtful[0]
    assert (row.recomputed.low, row.recomputed.high) == pytest.approx((43.18, 43.73), abs=0.01)


def test_a_repeated_value_is_suspected_with_the_value_it_would_need() -> None:
    found = audit.audit(PAPERS / "paper_nyuv2.csv")
    hints = [row.hint for _, row in found.wrong if row.method == "LDC-MTL"]
    assert hints == ["PixAcc repeats mIoU (38.04) and would have to be 63.9"]


def test_text_names_conventions_and_wrong_rows() -> None:
    text = audit.text(audit.audit(PAPERS / "paper_qm9.csv"))
    assert "LDC-MTL: printed 49.5, columns give 45.85" in text
    assert text.endswith("1 of the printed values cannot be right:\n"
                         "  ldc_mtl, Table 6, delta_m_pct: LDC-MTL\n")  # fmt: skip
    nothing = audit.text(audit.audit(PAPERS / "paper_celeba.csv"))
    assert "there are no columns to recompute it from" in nothing


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["method,metric,value,direction,task", *rows]) + "\n")
    return path


def test_a_table_made_by_hand(tmp_path: Path) -> None:
    rows = ["STL,acc,80.0,higher,A", "STL,err,2.00,lower,B", "STL,mae,10.0,lower,B"]
    gains = {"X": ("72.0", "2.20", "9.0", "10.00"), "Y": ("88.0", "2.00", "10.0", "-10.00"),
             "Z": ("80.0", "3.00", "10.0", "16.67")}  # fmt: skip
    for method, (acc, err, mae, delta) in gains.items():
        rows += [f"{method},acc,{acc},higher,A", f"{method},err,{err},lower,B",
                 f"{method},mae,{mae},lower,B", f"{method},delta_m,{delta},lower,all"]  # fmt: skip
    (column,) = audit.audit(write(tmp_path / "t.csv", rows)).columns
    # True means over metrics: 10/3, -10/3, 50/3; only Z was printed right.
    assert column.convention is None
    assert column.tried["mean over metrics of relative drops against STL"] == 1
    assert column.wrong == ()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["X,acc,eighty,higher,A"], "line 2: the value 'eighty' is no number"),
        (
            ["X,acc,1.0,higher,A", "", "X,err,2.0,lwoer,B"],
            "line 4: the direction 'lwoer' of 'err' is unknown; valid: higher, lower",
        ),
        (["X,acc,1.0,,A"], "line 2: the direction '' of 'acc' is unknown; valid: higher, lower"),
        (
            ["X,acc,1.0,higher,A", "X,err,2.0,lower"],
            r"line 3: 4 value\(s\) where the head has 5 columns \(method, metric, value, direction",
        ),
        (["X,acc,1.0,higher,A,B"], r"line 2: 6 value\(s\) where the head has 5 columns"),
        (
            ['"X\nY",acc,1.0,higher,A', 'X,"err,2.0,lower,B', "Y,err,2.0,lower,B"],
            "line 4: not a row of a CSV file .*; a quote that opens a value must be closed",
        ),
    ],
)
def test_bad_tables(tmp_path: Path, rows: list[str], sentence: str) -> None:
    with pytest.raises(AnalysisError, match=sentence) as caught:
        audit.audit(write(tmp_path / "t.csv", rows))
    assert str(tmp_path / "t.csv") in str(caught.value)


def test_errors_need_no_direction_and_a_folder_is_no_table(tmp_path: Path) -> None:
    (table,) = audit.read_tables(
        write(tmp_path / "t.csv", ["X,acc,1.0,higher,A", "X,acc_std,0.1,,A", "X,acc_stderr,,-,A"])
    )
    assert [key.metric for key in table.columns] == ["acc"]
    with pytest.raises(AnalysisError, match=r"cannot be read \(.*directory\); needed: a CSV file"):
        audit.read_tables(tmp_path)


def test_missing_file_and_columns(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="There is no table"):
        audit.audit(tmp_path / "none.csv")
    (tmp_path / "t.csv").write_text("method,value\nX,1\n")
    with pytest.raises(AnalysisError, match=r"lacks the column\(s\) metric, direction"):
        audit.audit(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "value", "half"),
    [("38.30", 38.3, 0.005), ("-0.76", -0.76, 0.005), ("−12", -12, 0.5), ("1,234.5", 1234.5, 0.05),
     ("1.2e-3", 0.0012, 0.00005), ("7.3%", 7.3, 0.05)],
)  # fmt: skip
def test_rounding_of_a_printed_number(text: str, value: float, half: float) -> None:
    number = parse_number(text)
    assert number.value == value
    assert number.half == pytest.approx(half)
