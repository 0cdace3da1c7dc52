"""The measures reproduce the papers' tables from their own columns, misprints excepted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import measures

PAPERS = Path(__file__).parents[1] / "data" / "papers"

# The released code's single-task row of QM9, of which the tables print a rounding.
QM9_UNROUNDED = {
    "mu": 0.0671, "alpha": 0.1814, "eps_HOMO": 60.576, "eps_LUMO": 53.915, "R2": 0.5027,
    "ZPVE": 4.539, "U0": 58.838, "U": 64.244, "H": 63.852, "G": 66.223, "cv": 0.07212,
}  # fmt: skip


class Table:
    """One printed table: metrics of methods, and what the paper aggregates from them."""

    def __init__(self, file: str, source: str, table: str, stl: str = "STL") -> None:
        rows = pd.read_csv(PAPERS / file, dtype={"value": str})
        rows = rows[(rows["source_file"] == source) & (rows["table"] == table)]
        rows = rows[rows["direction"].isin(["higher", "lower"])]
        own = rows[rows["task"] != "all"]
        self.columns = list(dict.fromkeys(own["metric"]))
        first = own.drop_duplicates("metric").set_index("metric")
        self.tasks = first.loc[self.columns, "task"].tolist()
        self.higher = (first.loc[self.columns, "direction"] == "higher").tolist()
        wide = own.pivot_table(
            index="method", columns="metric", values="value", aggfunc="first", sort=False
        )
        self.values = wide[self.columns].astype(float)
        self.decimals = wide[self.columns].map(decimals)
        self.rows = rows
        self.stl = stl

    @property
    def methods(self) -> list[str]:
        return [m for m in self.values.index if m != self.stl]

    def reported(self, metric: str) -> pd.Series:
        own = self.rows[self.rows["metric"] == metric].drop_duplicates("method")
        return own.set_index("method")["value"]

    def of(self, methods: list[str]) -> np.ndarray:
        return self.values.loc[methods].to_numpy()

    def baseline(self) -> np.ndarray:
        return self.values.loc[self.stl].to_numpy()


def decimals(text: str) -> int:
    return len(text.partition(".")[2])


def within_rounding(table: Table, methods: list[str], base: Table, measure) -> pd.DataFrame:
    """Smallest and largest value of a measure that the rounding of all entries allows.

    Every relative drop is monotone in the value and in the (positive) baseline, so the ends of
    an average are at the ends of every entry.
    """
    sign = np.where(table.higher, -1.0, 1.0)
    half = 0.5 * 10.0 ** -table.decimals.loc[methods].to_numpy(dtype=float)
    half_base = 0.5 * 10.0 ** -base.decimals.loc[base.stl].to_numpy(dtype=float)
    v, b = table.of(methods), base.baseline()
    # drop = sign * (v / b - 1): shift v in the sense that raises it, b in the other.
    ends = [
        [
            measure(row + s * sign * h, b - s * sign * half_base)
            for row, h in zip(v, half, strict=True)
        ]
        for s in (-1.0, 1.0)
    ]
    return pd.DataFrame({"low": np.min(ends, axis=0), "high": np.max(ends, axis=0)}, index=methods)


DELTA_M = [
    ("paper_nyuv2.csv", "fairgrad", "Table 2", {"IMTL-G"}),
    ("paper_nyuv2.csv", "fairgrad", "Table 6", set()),
    ("paper_nyuv2.csv", "fairgrad", "Table 10", set()),
    ("paper_nyuv2.csv", "ldc_mtl", "Table 7", {"IMTL-G", "LDC-MTL"}),
    ("paper_nyuv2.csv", "pivrg_supplement", "Table 7", set()),
    ("paper_cityscapes.csv", "fairgrad", "Table 3", set()),
    ("paper_cityscapes.csv", "fairgrad", "Table 7", set()),
    ("paper_cityscapes.csv", "fairgrad", "Table 9", set()),
    ("paper_cityscapes.csv", "fairgrad", "Table 11", set()),
    ("paper_cityscapes.csv", "pivrg_supplement", "Table 6", set()),
    ("paper_cityscapes.csv", "ldc_mtl", "Table 1", set()),
    ("paper_cityscapes.csv", "ldc_mtl", "Table 8", set()),
    ("paper_cityscapes.csv", "ldc_mtl", "Table 9", set()),
    ("paper_qm9.csv", "fairgrad", "Table 8", set()),
    ("paper_qm9.csv", "ldc_mtl", "Table 6", {"LDC-MTL"}),
    ("paper_qm9.csv", "pivrg_supplement", "Table 9", set()),
    ("paper_qm9.csv", "pivrg_supplement", "Table 8", set()),
]
STL_TABLES = {"paper_nyuv2.csv": "Table 2", "paper_cityscapes.csv": "Table 3",
              "paper_qm9.csv": "Table 8"}  # fmt: skip


@pytest.mark.parametrize(("file", "source", "name", "misprints"), DELTA_M)
def test_delta_m_of_every_row(file: str, source: str, name: str, misprints: set[str]) -> None:
    table = Table(file, source, name)
    base = Table(file, "fairgrad", STL_TABLES[file])
    reported = table.reported("delta_m_pct")
    methods = [m for m in table.methods if m in reported.index]
    assert methods
    ranges = within_rounding(
        table, methods, base, lambda v, b: float(measures.delta_m(v, b, table.higher))
    )
    wrong = set()
    for method in methods:
        half = 0.5 * 10.0 ** -decimals(reported[method]) + 1e-9
        value = float(reported[method])
        low, high = ranges.loc[method]
        if not low - half <= value <= high + half:
            wrong.add(method)
    assert wrong == misprints


def test_nyuv2_delta_m_is_over_metrics_not_tasks() -> None:
    """The printed 5.59 of LS is the mean over metrics; over tasks even the sign differs."""
    table = Table("paper_nyuv2.csv", "fairgrad", "Table 2")
    ls, base = table.values.loc["LS"].to_numpy(), table.baseline()
    assert measures.delta_m(ls, base, table.higher) == pytest.approx(5.59, abs=0.005)
    over_tasks = -measures.delta_mtm(ls, base, table.higher, table.tasks)
    assert over_tasks == pytest.approx(-0.878, abs=0.001)


def test_ldc_nyuv2_pixel_accuracy_duplicates_the_miou() -> None:
    table = Table("paper_nyuv2.csv", "ldc_mtl", "Table 7")
    row = table.values.loc["LDC-MTL"].copy()
    assert row["PixAcc"] == row["mIoU"] == 38.04
    base = table.baseline()
    assert measures.delta_m(row, base, table.higher) == pytest.approx(0.107, abs=0.001)
    row["PixAcc"] = 63.9
    assert measures.delta_m(row, base, table.higher) == pytest.approx(-4.40, abs=0.05)


MEAN_RANKS = [
    ("paper_nyuv2.csv", "fairgrad", "Table 2", "dense", 14),
    ("paper_cityscapes.csv", "fairgrad", "Table 3", "dense", 14),
    ("paper_qm9.csv", "fairgrad", "Table 8", "dense", 12),
    ("paper_qm9.csv", "pivrg_supplement", "Table 9", "min", 13),
]


@pytest.mark.parametrize(("file", "source", "name", "ties", "rows"), MEAN_RANKS)
def test_mean_ranks_of_every_row(
    file: str, source: str, name: str, ties: measures.Ties, rows: int
) -> None:
    table = Table(file, source, name)
    reported = table.reported("MR")
    methods = [m for m in table.methods if m in reported.index]
    assert len(methods) == rows
    values = table.of(methods)
    ranks = measures.mean_rank_metrics(values, table.higher, ties)
    printed = np.array([float(reported[m]) for m in methods])
    assert np.abs(ranks - printed).max() <= 0.0051
    other: measures.Ties = "min" if ties == "dense" else "dense"
    assert np.abs(measures.mean_rank_metrics(values, table.higher, other) - printed).max() > 0.05


@pytest.mark.parametrize(
    ("file", "name"), [("paper_nyuv2.csv", "Table 10"), ("paper_cityscapes.csv", "Table 9")]
)
def test_mean_rank_where_each_alpha_replaces_fairgrad(file: str, name: str) -> None:
    main = Table(file, "fairgrad", STL_TABLES[file])
    table = Table(file, "fairgrad", name)
    others = [m for m in main.methods if m != "FairGrad"]
    for variant, printed in table.reported("MR").items():
        values = np.vstack([main.of(others), table.values.loc[[variant], main.columns]])
        rank = measures.mean_rank_metrics(values, main.higher, "dense")[-1]
        assert rank == pytest.approx(float(printed), abs=0.0051)


@pytest.mark.parametrize(
    ("file", "stl", "table", "tolerance", "misprints"),
    [
        ("paper_cityscapes.csv", "Table 3", "Table 12", 0.0051, set()),
        ("paper_nyuv2.csv", "Table 2", "Table 10", 0.0061, {"Nash-MTL", "DWA"}),
        ("paper_qm9.csv", "Table 8", "Table 11", 0.0051, set()),
    ],
)
def test_variance_is_the_population_variance_over_metrics(
    file: str, stl: str, table: str, tolerance: float, misprints: set[str]
) -> None:
    main = Table(file, "fairgrad", stl)
    reported = Table(file, "pivrg_supplement", table).reported("var_delta_m_i")
    base = main.baseline()
    if file == "paper_qm9.csv":
        base = np.array([QM9_UNROUNDED[c] for c in main.columns])
    wrong = set()
    for method, printed in reported.items():
        if method == "PIVRG":  # its own row is computed from runs that are not printed
            continue
        value = measures.delta_m_variance(main.values.loc[method].to_numpy(), base, main.higher)
        if abs(float(value) - float(printed)) > tolerance * max(1.0, float(value) / 1e4):
            wrong.add(str(method))
    assert wrong == misprints


@pytest.mark.parametrize(
    ("file", "name", "all_fit_over_metrics"),
    [("rw_nyuv2_table1.csv", "Table 1", False), ("rw_cityscapes_table6.csv", "Table 6", True)],
)
def test_delta_p_is_over_tasks_against_equal_weighting(
    file: str, name: str, all_fit_over_metrics: bool
) -> None:
    table = Table(file, "random_weighting", name, stl="EW")
    reported = table.reported("delta_p_pct")

    def misfits(measure) -> int:
        ranges = within_rounding(table, table.methods, table, measure)
        half = 0.0051
        printed = reported[table.methods].astype(float)
        fits = (printed >= ranges["low"] - half) & (printed <= ranges["high"] + half)
        return int((~fits).sum())

    def over_tasks(v: np.ndarray, b: np.ndarray) -> float:
        return float(measures.delta_p(v, b, table.higher, table.tasks))

    def over_metrics(v: np.ndarray, b: np.ndarray) -> float:
        return -float(measures.delta_m(v, b, table.higher))

    assert len(table.methods) == 14
    assert misfits(over_tasks) == 0
    assert (misfits(over_metrics) == 0) is all_fit_over_metrics


@pytest.mark.parametrize(
    ("file", "name", "rows"),
    [("smto_mnist_table3.csv", "Table 3", 16), ("smto_cityscapes_table4.csv", "Table 4", 9)],
)
def test_delta_mtm_averages_within_tasks_first(file: str, name: str, rows: int) -> None:
    data = pd.read_csv(PAPERS / file)
    data = data[data["table"] == name]
    average = data["metric"] == "delta_mtm_pct_avg"
    printed = data[average].set_index("method")["value"]
    assert len(printed) == rows
    for method, own in data[~average].groupby("method"):
        # The columns are relative gains already: a baseline of 1 and values of 1 + gain.
        values = 1.0 + own["value"].to_numpy() / 100.0
        value = measures.delta_mtm(
            values, np.ones(len(own)), [True] * len(own), own["task"].tolist()
        )
        assert float(value) == pytest.approx(printed[method], abs=0.0105, rel=6e-4)
