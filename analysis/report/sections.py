"""The tables of a report, from the analysis functions' data frames."""

from __future__ import annotations

import pandas as pd

from analysis.fixed_dynamic import fixed_versus_dynamic
from analysis.report.tables import Column, Table
from analysis.results import ERROR_COLUMNS, Results
from analysis.scores import MEASURE_LABELS, MEASURES

PERCENT_DIGITS = {"jain_index": 4, "gini": 4}


def summary_table(results: Results, summary: pd.DataFrame) -> Table:
    """Measures of every method."""
    columns = [
        Column("label", "method"),
        Column("seeds", "seeds"),
        *(
            Column(
                name,
                MEASURE_LABELS[name],
                PERCENT_DIGITS.get(name, 2),
                f"{name}_se",
                "high" if higher else "low",
            )
            for name, higher in MEASURES.items()
            if summary[name].notna().any()
        ),
        *(
            Column(name, MEASURE_LABELS[name], 2, best="low")
            for name in ("mean_rank", "mean_rank_metrics")
            if summary[name].notna().any()
        ),
        Column("seconds_per_epoch", "s / epoch ↓", 3, best="low"),
        Column("n_diverged", "diverged"),
        Column("n_failed", "failed"),
    ]
    return Table(
        "summary",
        "Summary",
        summary,
        columns,
        "Mean ± standard error over seeds on the test split, best value of each column bold "
        "(single-task excepted). Diverged and failed trials of all phases are counted, never "
        "averaged.",
        row_variant="variant",
    )


def metrics_table(results: Results, summary: pd.DataFrame) -> Table:
    """Raw test metrics of every method."""
    columns = [Column("label", "method"), Column("seeds", "seeds")]
    for metric in results.metrics:
        column = metric.column("test")
        best = "high" if metric.higher_is_better else "low"
        columns.append(Column(column, metric.label, _digits(summary[column]), f"{column}_se", best))
    return Table(
        "metrics",
        "Metrics",
        summary,
        columns,
        "Test metrics, mean ± standard error over seeds.",
        row_variant="variant",
    )


def fixed_dynamic_table(results: Results) -> Table | None:
    """Fixed beside dynamic weights; None if none were trained."""
    frame = fixed_versus_dynamic(results)
    if frame.empty:
        return None
    label = MEASURE_LABELS["delta_mtm"]
    columns = [
        Column("label", "weights from"),
        Column("equal", f"equal weights {label}", 2, "equal_se"),
        Column("fixed", f"fixed weights {label}", 2, "fixed_se"),
        Column("dynamic", f"dynamic {label}", 2, "dynamic_se"),
        Column("difference", "fixed − dynamic", 2),
        *(
            Column(f"weight.{task}", f"weight of {task}", 3)
            for task in results.tasks
            if frame[f"weight.{task}"].notna().any()
        ),
    ]
    return Table(
        "fixed_dynamic",
        "Fixed against dynamic weights",
        frame,
        columns,
        "Linear scalarisation trained with the weights that a dynamic method ended with, beside "
        "the method itself and equal weights (Table 2 of “Uniform Loss vs. Specialized "
        "Optimization”).",
        row_variant="source",
    )


def failures_table(results: Results) -> Table | None:
    """Every trial that did not finish; None if all did."""
    ended_badly = pd.concat([results.diverged, results.failed])
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


def trials_counts(results: Results) -> Table:
    """Trials, epochs and seconds spent on every method in every phase."""
    trials = results.trials.assign(
        finished=results.trials["status"] == "finished",
        diverged=results.trials["status"] == "diverged",
        failed=results.trials["status"] == "failed",
    )
    trials = trials[~trials["phase"].isin(["weight_sweep", "sensitivity"])]
    frame = (
        trials.groupby(["phase", "variant"], sort=False)
        .agg(
            trials=("trial_id", "size"),
            configurations=("configuration_id", "nunique"),
            finished=("finished", "sum"),
            diverged=("diverged", "sum"),
            failed=("failed", "sum"),
            epochs=("epochs", "sum"),
            seconds=("seconds", "sum"),
        )
        .reset_index()
    )
    columns = [
        Column("phase", "phase"),
        Column("variant", "method"),
        *(
            Column(name, name)
            for name in ("configurations", "trials", "finished", "diverged", "failed", "epochs")
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


def _digits(values: pd.Series) -> int:
    """Enough decimals for four significant digits of the largest value."""
    largest = float(values.abs().max()) if values.notna().any() else 1.0
    for digits in range(1, 7):
        if largest * 10**digits >= 1000:
            return digits
    return 6
