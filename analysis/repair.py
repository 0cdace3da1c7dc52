"""What can still be said of a damaged results folder: each repair, and the sentence that names it.

A strict reader raises the first sentence; a lenient one repairs and keeps all of them. Nothing is
made up: what a repair cannot know is missing afterwards, and rows that cannot be placed are left
out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.results import ERROR_COLUMNS, SPLITS, STATUSES, TRIAL_COLUMNS, Metric

FINAL_PHASES = ("replicate", "fixed_weights")
SHARED = ("phase", "method", "variant", "seed")
"""Columns of the trial table that the epoch table has too."""


@dataclass
class Complaints:
    """What is wrong with a folder: raised at once if strict, else collected."""

    strict: bool
    found: list[str] = field(default_factory=list)

    def add(self, sentence: str, consequence: str) -> None:
        """A fault, and what a lenient reader does about it.

        Raises:
            AnalysisError: The reader is strict.
        """
        if self.strict:
            raise AnalysisError(sentence)
        self.found.append(f"{sentence} {consequence}")


def recovered_trials(
    epochs: pd.DataFrame, metrics: tuple[Metric, ...], study: Mapping[str, Any]
) -> tuple[pd.DataFrame, str]:
    """A trial table from the epoch table, for a folder whose own cannot be read.

    Trials that ran as many epochs as the study asks for are known to have finished; how shorter
    ones ended is not known, so they are left out. Values are those of the epoch with the best
    `delta_mtm` (for a single-task trial: the best first metric). Test values, hyper-parameters and
    times are lost.

    Returns:
        The table, and a sentence that says what it is.
    """
    empty = pd.DataFrame({column: pd.Series(dtype=object) for column in TRIAL_COLUMNS})
    if epochs.empty:
        return empty, "Nothing is known of any trial."
    protocol = study.get("protocol")
    planned = protocol.get("epochs") if isinstance(protocol, Mapping) else None
    counts = epochs.groupby("trial_id")["epoch"].max()
    length = planned if isinstance(planned, int) else int(counts.max())
    whole = counts[counts >= length].index
    rows = [
        _recovered(str(trial_id), own, metrics)
        for trial_id, own in epochs[epochs["trial_id"].isin(whole)].groupby("trial_id", sort=False)
    ]
    left_out = len(counts) - len(whole)
    consequence = (
        f"Of the epochs, {len(rows)} trials that ran all {length} epochs are shown with their "
        "validation values; test values, hyper-parameters and times are lost"
    )
    if left_out:
        consequence += f", and {left_out} shorter trials are left out, as their end is not known"
    return (pd.DataFrame(rows) if rows else empty), f"{consequence}."


def _recovered(trial_id: str, own: pd.DataFrame, metrics: tuple[Metric, ...]) -> dict[str, object]:
    best = own.loc[_best_row(own, metrics)]
    search = best["phase"] in ("search", "baselines")
    values = {name: best[name] for name in own.columns if str(name).startswith("validation.")}
    return {
        "trial_id": trial_id,
        **{column: best[column] for column in SHARED},
        "configuration_id": trial_id if search else f"{best['phase']} {best['variant']}",
        "source_method": _source(str(best["variant"])),
        "status": "finished",
        "epochs": len(own),
        "best_epoch": best["epoch"],
        "seconds": np.nan,
        "seconds_per_epoch": np.nan,
        **values,
    }


def _best_row(own: pd.DataFrame, metrics: tuple[Metric, ...]) -> Any:
    candidates = [("validation.delta_mtm", True)]
    candidates += [(metric.column("validation"), metric.higher_is_better) for metric in metrics]
    for column, higher in candidates:
        if column in own.columns and own[column].notna().any():
            return own[column].idxmax() if higher else own[column].idxmin()
    return own["epoch"].idxmax()


def _source(variant: str) -> str | None:
    inner = variant.startswith("fixed(") and variant.endswith(")")
    return variant[6:-1] if inner else None


def with_trial_columns(
    trials: pd.DataFrame, epochs: pd.DataFrame, path: Path, complaints: Complaints
) -> pd.DataFrame:
    """The trial table with every required column, taken from elsewhere where it is missing."""
    missing = [column for column in TRIAL_COLUMNS if column not in trials.columns]
    if not missing:
        return trials
    done = []
    table = trials.copy()
    if "trial_id" in missing:
        table["trial_id"] = [f"row {place + 1}" for place in range(len(table))]
        done.append("its rows are numbered and matched to no epochs")
    firsts = epochs.drop_duplicates("trial_id").set_index("trial_id")
    shared = [column for column in SHARED if column in missing]
    for column in shared:
        known = firsts[column] if column in firsts.columns else pd.Series(dtype=object)
        table[column] = table["trial_id"].map(known)
    for one, other in (("method", "variant"), ("variant", "method")):
        if one in missing and other not in missing:
            table[one] = table[one].where(table[one].notna(), table[other])
    if shared:
        done.append(f"taken from the epochs of each trial: {', '.join(shared)}")
    if "status" in missing:
        values = table[[c for c in table.columns if str(c).startswith("validation.")]]
        table["status"] = np.where(values.notna().any(axis=1), "finished", "failed")
        done.append("trials with a validation value count as finished, others as failed")
    if "configuration_id" in missing:
        same = ["method", "variant"]
        same += [c for c in table.columns if str(c).startswith(("hp.", "training."))]
        table["configuration_id"] = [f"settings {n}" for n in table.groupby(
            [table[c].astype(str) for c in same], sort=False, dropna=False).ngroup()]  # fmt: skip
        done.append("trials with the same settings count as one configuration")
    measured = [c for c in ("epochs", "best_epoch", "seconds", "seconds_per_epoch") if c in missing]
    for column in measured:
        table[column] = np.nan
    if measured:
        done.append("what needs it is left out" if len(missing) == 1 else "the rest is left out")
    said = "; ".join(done)
    complaints.add(
        f"{path} lacks the column{_s(missing)} {', '.join(missing)}.",
        f"{said[:1].upper()}{said[1:]}.",
    )
    return table


def without_duplicated_trials(
    trials: pd.DataFrame, path: Path, complaints: Complaints
) -> pd.DataFrame:
    """Each trial once; of trials whose rows differ, none can be trusted more, so the first."""
    trials = _first_of_each(trials, ["trial_id"], path, "", complaints)
    final = trials["phase"].isin(FINAL_PHASES) & (trials["status"] == "finished")
    keys = ["phase", "variant", "configuration_id", "seed"]
    again = trials[final].duplicated(keys)
    if not again.any():
        return trials
    names = list(trials[final][again]["trial_id"].astype(str))
    complaints.add(
        f"{path} holds {len(names)} trial{_s(names)} of a configuration and seed that another "
        f"trial has already ({_shown(names)}).",
        "Only the first of each is used, as a repeated seed is no further evidence.",
    )
    return trials[~trials.index.isin(again.index[again])].reset_index(drop=True)


def without_duplicated_epochs(
    epochs: pd.DataFrame, path: Path, complaints: Complaints
) -> pd.DataFrame:
    """Each epoch of each trial once."""
    return _first_of_each(epochs, ["trial_id", "epoch"], path, "epochs of ", complaints)


def _first_of_each(
    table: pd.DataFrame, keys: list[str], path: Path, what: str, complaints: Complaints
) -> pd.DataFrame:
    again = table.duplicated(keys)
    if again.any():
        names = list(dict.fromkeys(table.loc[again, "trial_id"].astype(str)))
        involved = table[table.duplicated(keys, keep=False)].astype(str)
        differ = len(involved.drop_duplicates()) > len(involved.drop_duplicates(keys))
        complaints.add(
            f"{path} holds {what}{len(names)} trial{_s(names)} more than once ({_shown(names)})"
            + (", with values that differ." if differ else "."),
            "Only the first of each is used.",
        )
    return table[~again].reset_index(drop=True)


def without_unusable_rows(trials: pd.DataFrame, path: Path, complaints: Complaints) -> pd.DataFrame:
    """Without trials of an unknown status, or of which nobody knows what they are."""
    unknown = ~trials["status"].isin(STATUSES)
    if unknown.any():
        names = sorted(set(trials.loc[unknown, "status"].astype(str)))
        complaints.add(
            f"{path} has trials of status {', '.join(names)}; valid: {', '.join(STATUSES)}.",
            f"These {int(unknown.sum())} trials are left out.",
        )
        trials = trials[~unknown]
    seeds = pd.to_numeric(trials["seed"], errors="coerce")
    lost = trials[["phase", "method", "variant"]].isna().any(axis=1) | seeds.isna()
    if lost.any():
        complaints.add(
            f"{path} has {int(lost.sum())} trial(s) without phase, method, variant or seed.",
            "They are left out.",
        )
    kept = trials[~lost].reset_index(drop=True)
    return kept.assign(seed=seeds[~lost].astype(np.int64).to_numpy())


def with_metric_columns(
    trials: pd.DataFrame, metrics: tuple[Metric, ...], path: Path, complaints: Complaints
) -> pd.DataFrame:
    """The trial table with a column for every metric, empty where there was none."""
    wanted = [metric.column(split) for split in SPLITS for metric in metrics]
    missing = [column for column in wanted if column not in trials.columns]
    absent = [
        metric.column(split)
        for split in SPLITS
        for metric in metrics
        if metric.column(split) in missing and _measured(trials, metric, split)
    ]
    if absent:
        complaints.add(
            f"{path} lacks the column{_s(absent)} {', '.join(absent)}.",
            "Measures that need it are left out.",
        )
    trials = _without_infinities(trials, wanted, path, complaints)
    optional = ("source_method", *ERROR_COLUMNS)
    return trials.reindex(
        columns=[
            *trials.columns,
            *missing,
            *(column for column in optional if column not in trials.columns),
        ]
    )


def _without_infinities(
    trials: pd.DataFrame, wanted: list[str], path: Path, complaints: Complaints
) -> pd.DataFrame:
    there = [column for column in wanted if column in trials.columns]
    values = trials[there].astype(np.float64)
    infinite = values.isin([np.inf, -np.inf])
    if not infinite.to_numpy().any():
        return trials
    names = [column for column in there if infinite[column].any()]
    complaints.add(f"{path} holds infinite values in {', '.join(names)}.", "They count as missing.")
    return trials.assign(**{name: values[name].mask(infinite[name]) for name in names})


def _measured(trials: pd.DataFrame, metric: Metric, split: str) -> bool:
    """Whether a trial finished that reads this metric: without one its column may be absent."""
    finished = trials[trials["status"] == "finished"]
    if split == "validation":
        own = finished["variant"] == f"stl:{metric.task}"
        return bool(((finished["phase"] != "baselines") | own).any())
    if not any(str(column).startswith("test.") for column in trials.columns):
        return False
    return bool(finished["phase"].isin(FINAL_PHASES).any())


def _shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _s(items: list[str]) -> str:
    return "" if len(items) == 1 else "s"
