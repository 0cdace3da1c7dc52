"""Tables of a report about the runs: losses, time, search, budgets, failures."""

from __future__ import annotations

import pandas as pd

from analysis.report.study import StudyAnalysis
from analysis.report.study_tables import labelled
from analysis.report.tables import Column, Table
from analysis.results import ERROR_COLUMNS
from analysis.scores import WALL_TIME


def losses_table(study: StudyAnalysis) -> Table | None:
    """Distribution of the tasks' losses."""
    frame = labelled(study, study.losses)
    if frame.empty or len(study.results.tasks) < 2:
        return None
    columns = [
        Column("label", "method"),
        *(
            Column(name, name, 4, best="low")
            for name in ("mean", "std", "min", "max", "discrepancy")
        ),
    ]
    return Table(
        "loss_table",
        "Distribution of the tasks' losses",
        frame,
        columns,
        "Validation losses of the tasks at the best epoch, averaged over seeds; discrepancy: mean "
        "absolute difference between two tasks (LDC-MTL paper, Table 3).",
        row_variant="variant",
    )


def time_table(study: StudyAnalysis) -> Table | None:
    """Time per epoch."""
    frame = labelled(study, study.time)
    if frame.empty:
        return None
    columns = [
        Column("label", "method"),
        Column("seconds", "s / epoch ↓", 3, best="low"),
        Column("relative", "relative to LS ↓", 2),
        Column("solve_share", "share spent finding weights", 3),
    ]
    return Table("time_table", "Time per epoch", frame, columns, WALL_TIME, row_variant="variant")


def neighbours_table(study: StudyAnalysis) -> Table | None:
    """Best configuration of every method and its neighbours."""
    frame = study.neighbours
    if frame.empty:
        return None
    frame = frame.assign(
        label=[study.results.label(str(name)) for name in frame["name"]],
        what=["best" if place == 0 else f"neighbour {place}" for place in frame["place"]],
    )
    columns = [
        Column("label", "method"),
        Column("what", "configuration"),
        Column("objective", "validation objective", 0, significant=4),
        Column("seeds", "seeds"),
        Column("distance", "distance", 3),
        Column("settings", "settings"),
    ]
    return Table(
        "neighbours",
        "Best configurations and their neighbours",
        frame,
        columns,
        "Distance over the searched parameters, each scaled to the range tried; another choice is "
        "1 away. A best that is far better than its neighbours is luck or a narrow optimum.",
        row_variant="name",
        long=True,
    )


def borders_table(study: StudyAnalysis) -> Table | None:
    """Best values on the border of their range."""
    frame = study.borders
    if frame.empty:
        return None
    frame = frame.assign(
        label=[study.results.label(str(name)) for name in frame["name"]],
        searched=["values" if choices else "range" for choices in frame["choices"]],
    )
    columns = [
        Column("label", "method"),
        Column("parameter", "parameter"),
        *(Column(name, name) for name in ("value", "low", "high", "side")),
        Column("searched", "searched"),
    ]
    return Table(
        "borders",
        "Best values at the end of what was searched",
        frame,
        columns,
        "A better value may lie outside: search again with a wider range or with further values.",
        row_variant="name",
    )


def budgets_table(study: StudyAnalysis) -> Table:
    """Trials, epochs and seconds spent on every method in every phase."""
    trials = study.results.trials
    trials = trials.assign(
        finished=trials["status"] == "finished",
        diverged=trials["status"] == "diverged",
        failed=trials["status"] == "failed",
        pruned=trials["status"] == "pruned",
        variant=trials["variant"].where(trials["phase"] != "weight_sweep", "weight sweep"),
    )
    frame = (
        trials.groupby(["phase", "variant"], sort=False)
        .agg(
            trials=("trial_id", "size"),
            configurations=("configuration_id", "nunique"),
            finished=("finished", "sum"),
            diverged=("diverged", "sum"),
            failed=("failed", "sum"),
            pruned=("pruned", "sum"),
            epochs=("epochs", _sum),
            seconds=("seconds", _sum),
        )
        .reset_index()
    )
    stopped = ["pruned"] if frame["pruned"].any() else []
    columns = [
        Column("phase", "phase"),
        Column("variant", "method"),
        *(
            Column(name, name)
            for name in (
                "configurations",
                "trials",
                "finished",
                *stopped,
                "diverged",
                "failed",
                "epochs",
            )
        ),
        Column("seconds", "seconds", 1),
    ]
    return Table(
        "budgets",
        "What was spent",
        frame,
        columns,
        "Trials, epochs and seconds of training and evaluation by phase and method.",
        row_variant="variant",
        long=True,
    )


def _sum(values: pd.Series) -> float:
    """The sum; NaN where nothing is known."""
    return float(values.astype(float).sum(min_count=1))


def failures_table(study: StudyAnalysis) -> Table | None:
    """Every trial that did not finish; None if all did."""
    ended_badly = pd.concat([study.results.diverged, study.results.failed])
    if ended_badly.empty:
        return None
    frame = ended_badly[["trial_id", "phase", "variant", "seed", "status", *ERROR_COLUMNS]]
    columns = [
        Column("status", "status"),
        Column("variant", "method"),
        Column("phase", "phase"),
        Column("seed", "seed"),
        Column("error_task", "task"),
        Column("error_epoch", "epoch"),
        Column("error_step", "step"),
        Column("error_type", "error"),
        Column("error_message", "message"),
        Column("trial_id", "trial"),
    ]
    return Table(
        "failures",
        "Trials that did not finish",
        frame.reset_index(drop=True),
        columns,
        "These trials are counted in the tables and enter no mean.",
        row_variant="variant",
        long=True,
    )
