"""Effective weights over epochs, and the fixed weights that can be extracted from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.errors import AnalysisError
from analysis.measures import Floats
from analysis.results import Results

EMA_BETA = 0.9


def weight_columns(results: Results) -> list[str]:
    """Columns of the epoch table that hold effective weights, in the order of the tasks."""
    wanted = [f"weight.{task}" for task in results.tasks]
    return [column for column in wanted if column in results.epochs.columns]


def normalised_weights(
    results: Results, phases: Sequence[str] = ("replicate",), *, finished_only: bool = True
) -> pd.DataFrame:
    """Per-epoch mean effective weights of each trial, normalised to sum to 1.

    Args:
        results: A loaded folder.
        phases: Phases to take trials from.
        finished_only: Leave out diverged and failed trials.

    Returns:
        ``trial_id``, ``variant``, ``seed``, ``epoch`` and ``weight.<task>`` for methods that have
        effective weights; empty if none has. Weights that sum to zero give NaN.
    """
    columns = weight_columns(results)
    kept = ["trial_id", "variant", "seed", "epoch"]
    if len(columns) < len(results.tasks):
        return pd.DataFrame(columns=[*kept, *(f"weight.{task}" for task in results.tasks)])
    epochs = results.epochs[results.epochs["phase"].isin(list(phases))]
    if finished_only:
        epochs = epochs[epochs["trial_id"].isin(results.finished["trial_id"])]
    epochs = epochs.dropna(subset=columns)
    weights = epochs[columns].to_numpy(dtype=np.float64)
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(total != 0, weights / total, np.nan)
    table = epochs[kept].reset_index(drop=True)
    table[columns] = shares
    return table


def study_beta(results: Results) -> float:
    """Share that the study's own fixed weights keep; 0.9 in a study without them."""
    section = results.study.get("fixed_weights")
    beta = section.get("beta") if isinstance(section, Mapping) else None
    return float(beta) if isinstance(beta, int | float) and 0.0 <= beta < 1.0 else EMA_BETA


def moving_average(values: ArrayLike, beta: float = EMA_BETA) -> Floats:
    """Exponential moving average along the first axis, started at the first value.

    ``m_1 = x_1``, ``m_t = beta m_(t-1) + (1 - beta) x_t``.

    Args:
        values: Shape (T, ...).
        beta: Share that is kept, in [0, 1).

    Returns:
        Same shape.

    Raises:
        AnalysisError: `beta` is outside its range.

    Source: "Uniform Loss vs. Specialized Optimization", section 3.5 (beta = 0.9).
    """
    if not 0.0 <= beta < 1.0:
        raise AnalysisError(f"The share kept by a moving average is in [0, 1), not {beta}.")
    average = np.array(values, dtype=np.float64)
    for t in range(1, len(average)):
        average[t] = beta * average[t - 1] + (1.0 - beta) * average[t]
    return average


def extract_fixed_weights(
    results: Results,
    variant: str,
    *,
    phase: str = "replicate",
    configuration_id: str | None = None,
    beta: float | None = None,
) -> pd.Series:
    """Fixed weights of a dynamic method: normalised, averaged over seeds, smoothed, last value.

    Seeds of different length count up to the last epoch that all of them reached.

    Args:
        results: A loaded folder.
        variant: A method with effective weights.
        phase: Phase whose trials are used; ``"search"`` for other settings than the best ones.
        configuration_id: Use only trials of this configuration: another learning rate, say, whose
            weights may work better (section 3.5 of the source).
        beta: Of `moving_average`; that of the study by default.

    Returns:
        One weight for each task; they sum to 1.

    Raises:
        AnalysisError: The variant has no effective weights in that phase and configuration, or one
            that averages to less than 0, which is no static weight.

    Source: "Uniform Loss vs. Specialized Optimization", section 3.5.
    """
    weights = normalised_weights(results, (phase,))
    own = weights[weights["variant"] == variant]
    if configuration_id is not None:
        trials = results.trials
        chosen = trials.loc[trials["configuration_id"] == configuration_id, "trial_id"]
        own = own[own["trial_id"].isin(chosen)]
        if own.empty:
            raise AnalysisError(
                f"No finished trial of {variant!r} in phase {phase!r} has the configuration "
                f"{configuration_id!r}."
            )
    if own.empty:
        valid = ", ".join(map(str, weights["variant"].unique())) or "none"
        raise AnalysisError(
            f"{variant!r} has no effective weights in phase {phase!r}; variants that do: {valid}."
        )
    columns = weight_columns(results)
    shared = own.groupby("trial_id")["epoch"].max().min()
    mean = own[own["epoch"] <= shared].groupby("epoch")[columns].mean().sort_index()
    kept = study_beta(results) if beta is None else beta
    last = moving_average(mean.to_numpy(), kept)[-1]
    if not (last >= 0).all():
        raise AnalysisError(
            f"An effective weight of {variant!r} averages to {last.min():.3g}, and a static weight "
            "is at least 0."
        )
    return pd.Series(last / last.sum(), index=list(results.tasks), name=variant)
