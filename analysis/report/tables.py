"""One table of a report: the same rows as HTML, CSV and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.wording import decimals_for, number

_GREEK = {
    **dict(zip(range(0x3B1, 0x3CA), (
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
        "lambda", "mu", "nu", "xi", "omicron", "pi", "rho", "varsigma", "sigma", "tau", "upsilon",
        "phi", "chi", "psi", "omega",
    ), strict=True)),
    **{ord(letter): name for letter, name in zip("ΓΔΘΛΞΠΣΦΨΩ", (
        "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega",
    ), strict=True)},
}  # fmt: skip
del _GREEK[0x3BF]  # LaTeX has no omicron of its own
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "²": r"\textsuperscript{2}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "−": "$-$",
    "…": r"\ldots{}",
    "∞": r"$\infty$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "\u00a0": "~",
} | {chr(code): rf"$\{name}$" for code, name in _GREEK.items()}


@dataclass(frozen=True)
class Column:
    """A column: where its values are, its head, and how numbers are written.

    Attributes:
        key: Column of the data frame.
        label: Head.
        digits: Decimals; None for text and whole numbers.
        significant: Significant digits that every value shows, with more decimals if need be.
        error: Column with the standard error, written as "value ± error".
        best: Which value is set in bold: ``"high"``, ``"low"`` or None.
        hint: Explanation shown on hover.
        floored: Write a positive value below the last decimal as "< 0.001", as for p-values.
    """

    key: str
    label: str
    digits: int | None = None
    error: str | None = None
    best: str | None = None
    hint: str = ""
    floored: bool = False
    significant: int = 0


@dataclass(frozen=True)
class Cell:
    """A rendered cell: its value, standard error, the number it sorts by (None for text)."""

    value: str
    sort: float | None
    best: bool
    missing: bool = False
    error: str = ""

    @property
    def text(self) -> str:
        """Value and error on one line."""
        return f"{self.value} ± {self.error}" if self.error else self.value


@dataclass(frozen=True)
class Table:
    """A table with an identifier that is unique in its report."""

    name: str
    title: str
    frame: pd.DataFrame
    columns: Sequence[Column]
    caption: str = ""
    row_variant: str | None = None
    long: bool = False
    most_rows: int = 500
    cells: list[list[Cell]] = field(init=False)

    def __post_init__(self) -> None:
        bests = {column.key: _best(self.frame, column) for column in self.columns}
        shown = self.frame.head(self.most_rows)
        records: list[dict[Any, Any]] = shown.to_dict("records")
        cells = [[_cell(row, c, bests[c.key]) for c in self.columns] for row in records]
        object.__setattr__(self, "cells", cells)

    @property
    def variants(self) -> list[str]:
        """The method each row is about ("" where none): what a click on it isolates."""
        if self.row_variant is None:
            return [""] * len(self.cells)
        return [family(str(name)) for name in self.frame[self.row_variant].head(self.most_rows)]

    @property
    def hidden_rows(self) -> int:
        """Rows beyond `most_rows`, which only the CSV has."""
        return max(0, len(self.frame) - self.most_rows)

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers, which are set flush right."""
        return [
            any(row[place].sort is not None for row in self.cells)
            for place in range(len(self.columns))
        ]

    def csv(self) -> str:
        """All values of the shown columns, unrounded, with errors as columns of their own."""
        keys = [
            key
            for column in self.columns
            for key in (column.key, column.error)
            if key is not None and key in self.frame.columns
        ]
        return str(self.frame[list(dict.fromkeys(keys))].to_csv(index=False, lineterminator="\n"))

    def latex(self) -> str:
        """A booktabs table ready to paste: best values bold, errors after ±."""
        head = " & ".join(escape_latex(column.label) for column in self.columns)
        lines = [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escape_latex(self.caption or self.title)}}}",
            rf"\label{{tab:{self.name}}}",
            rf"\begin{{tabular}}{{{''.join('r' if n else 'l' for n in self.numeric)}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
        ]
        for row in self.cells:
            texts = [escape_latex(cell.text) for cell in row]
            texts = [
                rf"\textbf{{{t}}}" if cell.best else t for t, cell in zip(texts, row, strict=True)
            ]
            lines.append(" & ".join(texts) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def family(variant: str) -> str:
    """What a click isolates: a method together with its fixed weights."""
    inner = variant.startswith("fixed(") and variant.endswith(")")
    return variant[6:-1] if inner else variant


def escape_latex(text: str) -> str:
    """Text as LaTeX that prints it."""
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)


def decimals(values: pd.Series) -> int:
    """Enough decimals for four significant digits of the largest value."""
    largest = float(values.abs().max()) if values.notna().any() else 1.0
    for digits in range(1, 7):
        if largest * 10**digits >= 1000:
            return digits
    return 6


def _cell(row: dict[Any, Any], column: Column, best: float | None) -> Cell:
    value = row.get(column.key)
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return Cell("–", None, best=False, missing=True)
    if isinstance(value, bool):
        return Cell("yes" if value else "no", float(value), best=False)
    if column.digits is None or isinstance(value, str):
        numeric = isinstance(value, (int, float))
        text = f"{value:g}" if isinstance(value, float) else str(value)
        return Cell(text, float(value) if numeric else None, best=False)
    digits = max(column.digits, decimals_for(float(value), column.significant))
    text = number(float(value), digits)
    if column.floored and 0 < value < 10.0**-column.digits:
        text = f"< {10.0**-column.digits:.{column.digits}f}"
    error = row.get(column.error) if column.error else None
    shown = "" if error is None or math.isnan(error) else number(float(error), digits)
    return Cell(
        text,
        float(value),
        best=best is not None and float(value) == best,
        error=shown,
    )


def _best(frame: pd.DataFrame, column: Column) -> float | None:
    if column.best is None or column.key not in frame.columns:
        return None
    values = pd.to_numeric(frame[column.key], errors="coerce")
    if "kind" in frame.columns:
        values = values[frame["kind"] != "single-task"]
    values = values.dropna()
    if values.empty:
        return None
    return float(values.max() if column.best == "high" else values.min())
