"""A study seen through its losses: questions about validation metrics can be asked of them too."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from analysis.results import Metric, Results


def loss_metrics(results: Results) -> tuple[Metric, ...]:
    """The loss of each task as a metric of which lower is better."""
    return tuple(Metric(task, "loss", higher_is_better=False) for task in results.tasks)


def losses_at_best(results: Results) -> pd.DataFrame:
    """Validation loss of each task at the best epoch of each trial.

    Returns:
        Indexed like `Results.trials`, one column for each of `loss_metrics`; NaN where a trial or
        the epoch table has none.
    """
    metrics = loss_metrics(results)
    names = [metric.column("validation") for metric in metrics]
    sources = {f"validation_loss.{m.task}": m.column("validation") for m in metrics}
    there = [column for column in sources if column in results.epochs.columns]
    best = results.trials.set_index("trial_id")["best_epoch"]
    epochs = results.epochs[["trial_id", "epoch", *there]]
    rows = epochs[epochs["epoch"] == epochs["trial_id"].map(best)]
    rows = rows.drop_duplicates("trial_id").set_index("trial_id")[there].rename(columns=sources)
    found = rows.reindex(index=results.trials["trial_id"], columns=names).astype(float)
    return found.set_index(results.trials.index)


def loss_view(results: Results) -> Results:
    """The study with the validation losses in place of its metrics.

    Losses are those at the epoch that the study selected. The test split has none, so the view is
    for functions that take a split, with ``split="validation"`` (`block_table`,
    `bootstrap_intervals`, `final_scores`, `score`, `stl_reference`), and for those that find the
    split that has values (`standing`, `hypervolumes`, `fairness_sweep`). `summarise`,
    `fixed_versus_dynamic` and `fixed_equivalence` read the test split and find nothing there; what
    is said of the search (`best_so_far` and so on) stays about the study's own objective.
    """
    metrics = loss_metrics(results)
    losses = losses_at_best(results)
    trials = results.trials.assign(**{str(name): losses[name] for name in losses.columns})
    trials = trials.assign(**{metric.column("test"): float("nan") for metric in metrics})
    return replace(results, metrics=metrics, trials=trials)
