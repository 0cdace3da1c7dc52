"""What weakens the evidence of a study, one sentence each."""

from __future__ import annotations

from analysis.report.study import StudyAnalysis
from analysis.sweep import weight_sweep
from analysis.wording import joined


def warnings(study: StudyAnalysis) -> list[str]:
    """What weakens the evidence."""
    results, summary = study.results, study.summary
    found = list(study.reference.problems)
    if results.manifest.get("fixture"):
        found.append(
            "The data of this study is a generated fixture: the numbers say nothing about the "
            "real data set."
        )
    notices = [str(notice) for notice in results.manifest.get("notices") or []]
    found.extend(f"{notice[:1].upper()}{notice[1:]}." for notice in notices if notice)
    methods = summary[summary["kind"] == "method"]
    lonely = methods[methods["seeds"] == 1]
    silent = methods[(methods["seeds"] == 0) & (methods["n_trials"] > 0)]
    if not lonely.empty:
        found.append(
            f"One seed only for {joined(lonely['label'])}: no spread is known, differences may be "
            "noise."
        )
    if not silent.empty:
        found.append(
            f"No finished replicate of {joined(silent['label'])}: no result on the test split."
        )
    blocks = study.blocks
    left_out = [
        str(row["label"])
        for row in methods[methods["seeds"] > 1].to_dict("records")
        if not blocks.empty and row["variant"] not in blocks.columns
    ]
    if left_out:
        found.append(
            f"Not every replicate of {joined(left_out)} finished: left out of the tests that pair "
            "methods by seed."
        )
    sweep = weight_sweep(results)
    if not sweep.empty and sweep.groupby("variant")["seed"].nunique().max() == 1:
        found.append(
            "The weight sweep was run with one seed: verdicts against its front take its points as "
            "exact."
        )
    if study.unequal_budgets:
        found.append(study.unequal_budgets)
    for row in study.borders.to_dict("records"):
        ends = f"{row['low']:.3g} to {row['high']:.3g}"
        where = f"range searched ({ends})"
        if row["choices"]:
            listed = ", ".join(f"{value:.3g}" for value in row["choices"])
            where = f"values searched ({listed})"
        elif not row["recorded"]:
            where = f"values tried ({ends})"
        found.append(
            f"The best {row['parameter']} of {results.label(str(row['name']))}, "
            f"{row['value']:.3g}, lies at the {'lower' if row['side'] == 'low' else 'upper'} end "
            f"of the {where}: a better value may lie outside."
        )
    return found
