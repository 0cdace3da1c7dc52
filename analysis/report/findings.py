"""The findings paragraph: sentences made from the numbers, each with its evidence."""

from __future__ import annotations

import pandas as pd

from analysis.report.tables import number
from analysis.results import Results


def findings(results: Results, summary: pd.DataFrame) -> list[dict[str, str]]:
    """What the results say, most important first.

    Args:
        results: A loaded folder.
        summary: Its `summarise` table.

    Returns:
        One mapping for each sentence: ``text`` and the ``evidence`` identifier in the report.
    """
    methods = summary[(summary["kind"] == "method") & (summary["seeds"] > 0)]
    said = []
    ranked = methods.dropna(subset=["delta_mtm"])
    if not ranked.empty:
        best = ranked.iloc[0]
        text = (
            f"{best['label']} has the best mean Δmtm, {_with_error(best)} against single-task "
            f"over {_seeds(best)}"
        )
        if len(ranked) > 1:
            second = ranked.iloc[1]
            text += f"; {second['label']} follows with {_with_error(second)}"
        said.append({"text": text + ".", "evidence": "summary"})
    wrong = len(results.diverged), len(results.failed)
    if any(wrong):
        said.append(
            {
                "text": f"Of {len(results.trials)} trials {wrong[0]} diverged and {wrong[1]} "
                "failed; none of them enters a mean.",
                "evidence": "failures",
            }
        )
    return said


def _with_error(row: pd.Series) -> str:
    text = f"{number(row['delta_mtm'], 2)}"
    if pd.notna(row["delta_mtm_se"]):
        text += f" ± {number(row['delta_mtm_se'], 2)}"
    return text + " %"


def _seeds(row: pd.Series) -> str:
    return f"{row['seeds']} seed" + ("" if row["seeds"] == 1 else "s")
