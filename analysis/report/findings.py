"""The findings paragraph: sentences made from the numbers, each with a link to its evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.fairness import fairness_sentences
from analysis.front import AHEAD, BEHIND
from analysis.planned import untried_methods, untried_phases
from analysis.report.study import StudyAnalysis
from analysis.scores import equal_weighting_variant
from analysis.statistics import detectable_effect
from analysis.sweep import weight_sweep
from analysis.wording import counted, joined, number

NAMES = {"delta_mtm": "Δmtm", "delta_p": "Δp"}


@dataclass(frozen=True)
class Finding:
    """A sentence, and the identifier of the table or figure that shows it."""

    text: str
    evidence: str


def findings(study: StudyAnalysis) -> list[Finding]:
    """What the results say, most important first; empty without a finished method."""
    said = [
        _best(study),
        *_untried(study),
        _separated(study),
        _against_equal(study),
        _against_sweep(study),
        _against_sweep_by_losses(study),
        *_fixed(study),
        _fairest(study),
        *_sensitivity(study),
        _similarity(study),
        _wrong(study),
    ]
    return [finding for finding in said if finding is not None]


def _best(study: StudyAnalysis) -> Finding | None:
    methods = study.methods
    if methods.empty:
        return _nothing(study)
    best = methods.iloc[0]
    against = "single-task" if study.measure == "delta_mtm" else "equal weighting"
    text = (
        f"{best['label']} has the best mean {NAMES[study.measure]}: "
        f"{_with_error(best, study.measure)} against {against} over "
        f"{counted(int(best['seeds']), 'seed')}"
    )
    interval = study.intervals
    own = interval[
        (interval["variant"] == best["variant"]) & (interval["measure"] == study.measure)
    ].dropna(subset=["low"])
    if not own.empty:
        text += (
            f" (95 % interval {number(own['low'].iloc[0], 2)} to {number(own['high'].iloc[0], 2)}"
            ", with the uncertainty of the single-task models)"
        )
    if len(methods) > 1:
        second = methods.iloc[1]
        text += f"; {second['label']} follows with {_with_error(second, study.measure)}"
    return Finding(text + ".", "summary")


def _nothing(study: StudyAnalysis) -> Finding:
    """What can be said without a single comparable method."""
    results = study.results
    replicates = results.trials[results.trials["phase"] == "replicate"]
    if replicates.empty:
        text = "No configuration was replicated, so the test split says nothing about methods yet"
        best = study.neighbours
        best = best[(best["place"] == 0) & ~best["name"].astype(str).str.startswith("stl:")]
        if not best.empty:
            names = [results.label(str(name)) for name in best["name"]]
            text += f"; searched so far: {joined(names)}"
        return Finding(text + ".", "neighbours")
    ended = replicates["status"].value_counts()
    if "finished" not in ended:
        counts = ", ".join(f"{count} {status}" for status, count in ended.items())
        text = f"Not one of {len(replicates)} replicates finished ({counts}): no method can be "
        return Finding(text + "ranked.", "failures")
    if study.untested:
        text = (
            "The replicates have no test values, so methods are only shown by their validation "
            "values, on which they were selected"
        )
        return Finding(text + ".", "validation")
    text = (
        "There are neither single-task baselines nor equal weighting to compare with, so methods "
        "are only compared by their metrics and ranks"
    )
    return Finding(text + ".", "metrics")


def _untried(study: StudyAnalysis) -> list[Finding]:
    """What was planned without a single trial having ended."""
    results, said = study.results, []
    methods, phases = untried_methods(results), untried_phases(results)
    if methods:
        names = joined([results.label(variant) for variant in methods])
        text = (
            f"Planned, but without a single trial so far: {names}; nothing is known of "
            f"{'it' if len(methods) == 1 else 'them'}."
        )
        said.append(Finding(text, "summary"))
    if phases:
        text = f"Planned phase{'' if len(phases) == 1 else 's'} without a single trial so far: "
        said.append(Finding(f"{text}{joined(phases)}.", "budgets"))
    return said


def _separated(study: StudyAnalysis) -> Finding | None:
    """Whether the lead is more than noise."""
    methods, pairs = study.methods, study.pairs
    if len(methods) < 2 or pairs.empty:
        return None
    best = str(methods.iloc[0]["variant"])
    own = pairs[(pairs["first"] == best) | (pairs["second"] == best)]
    if own.empty:
        return None
    other = np.where(own["first"] == best, own["second"], own["first"])
    close = [
        study.results.label(str(name))
        for name, sure in zip(other, own["significant"], strict=True)
        if not sure
    ]
    seeds = int(own["seeds"].iloc[0])
    label = study.results.label(best)
    if not close:
        others = "every other method" if len(own) == len(methods) - 1 else "every method"
        return Finding(
            f"The lead of {label} over {others} with the same seeds is significant (paired t "
            f"tests, Holm; {counted(seeds, 'seed')}).",
            "pairs",
        )
    text = (
        f"{label} is not distinguishable from {joined(close)} with {counted(seeds, 'seed')} "
        f"(paired t tests, Holm-corrected)"
    )
    closest = own[~own["significant"]]["seeds_needed"].min()
    if np.isfinite(closest) and closest > seeds:
        text += f"; if the effect is as large as it looks, a claim needs about {closest:.0f} seeds"
    elif seeds > 1:
        text += f"; {seeds} seeds show only differences of {detectable_effect(seeds):.1f} "
        text += "standard deviations or more"
    return Finding(text + ".", "pairs")


def _against_equal(study: StudyAnalysis) -> Finding | None:
    methods = study.methods
    reference = equal_weighting_variant(study.results)
    places = (methods["variant"] == reference).to_numpy().nonzero()[0]
    if not len(places) or len(methods) < 2:
        return None
    place = int(places[0])
    equal = methods.iloc[place]
    pairs = study.pairs
    better = worse = 0
    for row in pairs.to_dict("records"):
        if reference in (row["first"], row["second"]) and row["significant"]:
            ahead = (row["difference"] > 0) == (row["second"] == reference)
            better, worse = better + ahead, worse + (not ahead)
    text = (
        f"Linear scalarisation ({equal['label']}) is at {_with_error(equal, study.measure)}, "
        f"place {place + 1} of {len(methods)}"
    )
    if not pairs.empty:
        text += f"; {better or 'none'} significantly better, {worse or 'none'} significantly worse"
    return Finding(text + ".", "pairs" if not pairs.empty else "summary")


def _against_sweep(study: StudyAnalysis) -> Finding | None:
    table = study.standing
    if table.empty:
        return None
    names = {
        verdict: [
            study.results.label(str(name))
            for name in table.loc[table["verdict"] == verdict, "variant"]
        ]
        for verdict in (AHEAD, BEHIND)
    }
    on_it = len(table) - len(names[AHEAD]) - len(names[BEHIND])
    parts = []
    if names[AHEAD]:
        parts.append(f"{joined(names[AHEAD])} reach{_es(names[AHEAD])} trade-offs beyond it")
    if on_it:
        parts.append(f"{on_it} {'lie' if on_it > 1 else 'lies'} on it")
    if names[BEHIND]:
        parts.append(f"{joined(names[BEHIND])} fall{'s' if len(names[BEHIND]) == 1 else ''} behind")
    sweep = weight_sweep(study.results)
    points = counted(sweep["variant"].nunique(), "point")
    once = ", one seed each" if sweep.groupby("variant")["seed"].nunique().max() == 1 else ""
    text = f"Against the front of swept fixed weights ({points}{once}): {'; '.join(parts)}"
    if (table["seeds"] == 1).all():
        text += " (methods by the sign of the distance alone, as they have one seed too)"
    return Finding(text + ".", "standing")


def _against_sweep_by_losses(study: StudyAnalysis) -> Finding | None:
    """Where losses tell another story than metrics."""
    losses = study.standings.get("losses", pd.DataFrame())
    if losses.empty or study.standing.empty:
        return None
    by_tasks = study.standing.set_index("variant")["verdict"]
    other = [
        f"{study.results.label(str(row['variant']))} {row['verdict']}"
        for row in losses.to_dict("records")
        if by_tasks.get(row["variant"], row["verdict"]) != row["verdict"]
    ]
    if not other:
        text = "By validation losses instead of metrics every method stands the same"
    else:
        text = f"By validation losses instead of metrics the verdict is another for {joined(other)}"
    return Finding(text + ".", "standing_losses")


def _fixed(study: StudyAnalysis) -> list[Finding]:
    table = study.equivalence
    return [] if table.empty else [Finding(text, "fixed_dynamic") for text in table["sentence"]]


def _fairest(study: StudyAnalysis) -> Finding | None:
    methods = study.methods.dropna(subset=["worst_drop"])
    if len(methods) < 2 or len(study.results.tasks) < 2:
        return None
    fair = methods.sort_values("worst_drop", kind="stable").iloc[0]
    drops = {task: float(fair[f"drop.{task}"]) for task in study.results.tasks}
    worst = max(drops, key=drops.__getitem__)
    drop = float(fair["worst_drop"])
    most = (
        f"loses at most {number(drop, 2)} % on any task (most on {worst})"
        if drop > 0
        else f"gains at least {number(-drop, 2)} % on every task (least on {worst})"
    )
    # A drop of the worst task is a mean over seeds, each with a worst task of its own.
    most = f"on average over seeds it {most}" if fair["seeds"] > 1 else f"it {most}"
    text = f"{fair['label']} treats its worst task best: {most}"
    if fair["variant"] == methods.iloc[0]["variant"]:
        text += ", so the best method is also the fairest by this measure"
    return Finding(text + ".", "summary")


def _sensitivity(study: StudyAnalysis) -> list[Finding]:
    said = fairness_sentences(study.fairness, study.results.label)
    return [Finding(text, "fairness") for text in said]


def _similarity(study: StudyAnalysis) -> Finding | None:
    found = study.similarity
    if np.isnan(found["similarity"]) or np.isnan(found["gain"]):
        return None
    gain = (
        f"the best method gains {number(found['gain'], 1)} percentage points over equal weights"
        if found["gain"] > 0
        else "no method gains anything over equal weights"
    )
    text = (
        f"Task gradients agree with their mean at a cosine of {number(found['similarity'], 2)} on "
        f"average; {gain}."
    )
    return Finding(text, "figure-similarity")


def _wrong(study: StudyAnalysis) -> Finding | None:
    results = study.results
    diverged, failed = len(results.diverged), len(results.failed)
    if not diverged and not failed:
        return None
    text = (
        f"Of {len(results.trials)} trials {diverged} diverged and {failed} failed; none of them "
        "enters a mean."
    )
    return Finding(text, "failures")


def _with_error(row: pd.Series, measure: str) -> str:
    text = number(float(row[measure]), 2)
    if pd.notna(row[f"{measure}_se"]):
        text += f" ± {number(float(row[f'{measure}_se']), 2)}"
    return text + " %"


def _es(names: list[str]) -> str:
    return "es" if len(names) == 1 else ""
