"""How the search went: were the baselines tuned as well as the rest, and what mattered?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold

from analysis.measures import Floats
from analysis.objective import numeric_parameters, search_objective
from analysis.results import Metric, Results

FEWEST_CONFIGURATIONS = 8
"""Fewer configurations than this say nothing about importance."""
FOLDS, REPEATS = 3, 3
"""Parts that are held out in turn for importance; permutations of each column."""
PREFIXES = ("hp.", "training.")


@dataclass(frozen=True)
class Tuned:
    """The search trials of one method (or of one task's single-task model).

    Attributes:
        name: Method, or ``stl:<task>``.
        trials: Finished and unfinished trials in the order of the table.
        objective: Validation objective of each trial; NaN if it did not finish.
        higher_is_better: Its direction.
        label: What the objective is.
        replicated: The configuration that was replicated as the best, where any was.
    """

    name: str
    trials: pd.DataFrame
    objective: pd.Series
    higher_is_better: bool
    label: str
    replicated: str | None = None

    def configurations(self) -> pd.DataFrame:
        """One row for each configuration, in order of first appearance.

        ``configuration_id``, ``objective`` (mean over its finished seeds; NaN if it has none),
        ``seeds``, ``unfinished`` and the parameters that vary.
        """
        parameters = numeric_parameters(self.trials, prefixes=PREFIXES)
        table = self.trials[["configuration_id", *parameters]].assign(
            objective=self.objective, unfinished=self.trials["status"] != "finished"
        )
        grouped = table.groupby("configuration_id", sort=False)
        found = grouped[parameters].first()
        found["objective"] = grouped["objective"].mean()
        found["seeds"] = grouped["objective"].count()
        found["unfinished"] = grouped["unfinished"].sum()
        return found.reset_index()

    def best(self) -> str | None:
        """Identifier of the best configuration; None if none finished.

        The one that was replicated: with several objectives the study's rule chose it. Otherwise
        the one with the best mean objective.
        """
        found = self.configurations().dropna(subset=["objective"])
        if self.replicated is not None and (found["configuration_id"] == self.replicated).any():
            return self.replicated
        if found.empty:
            return None
        ordered = found.sort_values("objective", ascending=not self.higher_is_better, kind="stable")
        return str(ordered["configuration_id"].iloc[0])


def searches(results: Results) -> Iterator[Tuned]:
    """The search of every method, and of the single-task model of every task.

    Baselines that read the test split are replicates, not search, and are left out.
    """
    objective, name, higher = search_objective(results)
    trials = results.trials
    test = [metric.column("test") for metric in results.metrics]
    searched = trials[
        (trials["phase"] == "search")
        | ((trials["phase"] == "baselines") & trials[test].isna().all(axis=1))
    ]
    for variant, own in searched.groupby("variant", sort=False):
        if str(own["phase"].iloc[0]) == "search":
            chosen = _replicated(trials, str(variant))
            yield Tuned(str(variant), own, objective[own.index], higher, name, chosen)
            continue
        metric = _own_metric(results, own)
        if metric is not None:
            column = metric.column("validation")
            values = own[column].where(own["status"] == "finished").astype(np.float64)
            yield Tuned(str(variant), own, values, metric.higher_is_better, metric.label)


def _replicated(trials: pd.DataFrame, variant: str) -> str | None:
    own = trials[(trials["phase"] == "replicate") & (trials["variant"] == variant)]
    return None if own.empty else str(own["configuration_id"].iloc[0])


def best_so_far(results: Results) -> pd.DataFrame:
    """Best mean objective against the number of configurations tried, for every method.

    Returns:
        ``name``, ``objective`` (label), ``tried``, ``trials`` (spent so far), ``value`` (of this
        configuration), ``best``; NaN until the first one finished.
    """
    rows = []
    for tuned in searches(results):
        found = tuned.configurations()
        values = found["objective"]
        running = values.cummax() if tuned.higher_is_better else values.cummin()
        spent = (found["seeds"] + found["unfinished"]).cumsum()
        rows.append(
            pd.DataFrame(
                {
                    "name": tuned.name,
                    "objective": tuned.label,
                    "tried": np.arange(1, len(found) + 1),
                    "trials": spent,
                    "value": values,
                    "best": running.ffill(),
                }
            )
        )
    columns = ["name", "objective", "tried", "trials", "value", "best"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def response_curves(results: Results) -> pd.DataFrame:
    """Objective of every configuration against each parameter that the search varied.

    Returns:
        ``name``, ``parameter``, ``value``, ``objective``, ``best`` (the chosen configuration).
    """
    rows: list[pd.DataFrame] = []
    for tuned in searches(results):
        found = tuned.configurations().dropna(subset=["objective"])
        best = tuned.best()
        rows.extend(
            pd.DataFrame(
                {
                    "name": tuned.name,
                    "parameter": parameter,
                    "value": found[parameter].astype(np.float64),
                    "objective": found["objective"],
                    "best": found["configuration_id"] == best,
                }
            ).dropna(subset=["value"])
            for parameter in varied_parameters(found)
        )
    columns = ["name", "parameter", "value", "objective", "best"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def importance(results: Results, *, trees: int = 100, seed: int = 0) -> pd.DataFrame:
    """How much of the objective's variation each hyper-parameter explains, for every method.

    A random forest predicts the rank of the objective from the parameters; importance is the gain
    in squared error, on configurations that the forest was not fitted to, when one parameter is
    permuted. Ranks, because a few terrible
    configurations would otherwise decide everything.

    Args:
        results: A loaded folder.
        trees: Size of the forest.
        seed: Of forest and permutations.

    Returns:
        ``name``, ``parameter``, ``importance`` (shares that sum to 1 for each method; 0 where
        permuting does no harm), ``explained`` (R² of the forest on held-out ranks: below about 0.2
        the shares mean little), ``configurations``. Methods with fewer than
        `FEWEST_CONFIGURATIONS` finished configurations are left out.

    Source: Breiman, "Random forests", 2001 (permutation importance).
    """
    rows: list[dict[str, object]] = []
    for tuned in searches(results):
        found = tuned.configurations().dropna(subset=["objective"])
        parameters = varied_parameters(found)
        if len(found) < FEWEST_CONFIGURATIONS or not parameters:
            continue
        inputs = found[parameters].astype(np.float64)
        inputs = inputs.fillna(inputs.median())
        harm, explained = _held_out_harm(
            np.asarray(inputs, dtype=np.float64),
            np.asarray(found["objective"].rank(), dtype=np.float64),
            trees,
            seed,
        )
        shares = harm / harm.sum() if harm.sum() > 0 else harm
        rows.extend(
            {
                "name": tuned.name,
                "parameter": parameter,
                "importance": float(share),
                "explained": explained,
                "configurations": len(found),
            }
            for parameter, share in zip(parameters, shares, strict=True)
        )
    columns = ["name", "parameter", "importance", "explained", "configurations"]
    return pd.DataFrame(rows, columns=columns)


def _held_out_harm(inputs: Floats, target: Floats, trees: int, seed: int) -> tuple[Floats, float]:
    """Squared error that permuting each column adds on held-out rows, and the R² without it."""
    rng = np.random.default_rng(seed)
    harm, missed = np.zeros(inputs.shape[1]), 0.0
    for fitted, held in KFold(FOLDS, shuffle=True, random_state=seed).split(inputs):
        forest = RandomForestRegressor(trees, min_samples_leaf=2, random_state=seed, n_jobs=1)
        forest.fit(inputs[fitted], target[fitted])
        rows = np.tile(inputs[held], (1 + REPEATS * inputs.shape[1], 1, 1))
        for place in range(1, len(rows)):
            column = (place - 1) // REPEATS
            rows[place, :, column] = rng.permutation(rows[place, :, column])
        predicted = forest.predict(rows.reshape(-1, inputs.shape[1])).reshape(len(rows), -1)
        errors = ((predicted - target[held]) ** 2).sum(axis=1)
        missed += float(errors[0])
        harm += errors[1:].reshape(-1, REPEATS).mean(axis=1) - errors[0]
    return np.maximum(harm, 0.0), 1.0 - missed / float(((target - target.mean()) ** 2).sum())


def best_and_neighbours(results: Results, neighbours: int = 3) -> pd.DataFrame:
    """The best configuration of every method beside the ones closest to it.

    A best value that is far better than its neighbours is luck or a narrow optimum. Distance is
    Euclidean over parameters, each scaled to the range tried (logarithmic where that spans more
    than a factor of 30).

    Returns:
        ``name``, ``place`` (0 is the best itself), ``distance``, ``objective``, ``seeds``, and
        ``settings``: the parameters as text.
    """
    rows = []
    for tuned in searches(results):
        found = tuned.configurations().dropna(subset=["objective"])
        best = tuned.best()
        if best is None:
            continue
        parameters = varied_parameters(found)
        scaled = pd.DataFrame({p: _scaled(found[p]) for p in parameters}, index=found.index)
        chosen = found["configuration_id"] == best
        gaps = scaled - scaled[chosen].iloc[0]
        distance = np.sqrt((gaps**2).sum(axis=1))
        order = distance.where(~chosen, -1.0).sort_values(kind="stable").index
        for place, index in enumerate(order[: neighbours + 1]):
            settings = {p.partition(".")[2]: found.loc[index, p] for p in parameters}
            rows.append(
                {
                    "name": tuned.name,
                    "place": place,
                    "distance": float(distance.loc[index]),
                    "objective": float(found["objective"].loc[index]),
                    "seeds": int(found["seeds"].loc[index]),
                    "settings": ", ".join(
                        f"{k} = {v:.3g}" for k, v in settings.items() if pd.notna(v)
                    ),
                }
            )
    columns = ["name", "place", "distance", "objective", "seeds", "settings"]
    return pd.DataFrame(rows, columns=columns)


def _own_metric(results: Results, trials: pd.DataFrame) -> Metric | None:
    for metric in results.metrics:
        if trials[metric.column("validation")].notna().any():
            return metric
    return None


def varied_parameters(configurations: pd.DataFrame) -> list[str]:
    """The parameter columns that take at least two values."""
    return [
        str(column)
        for column in configurations.columns
        if str(column).startswith(PREFIXES) and configurations[column].nunique() > 1
    ]


def logarithmic(low: float, high: float) -> bool:
    """Whether a range spans so many orders of magnitude that it is read on a log scale."""
    return low > 0 and high / low > 30


def _scaled(values: pd.Series) -> pd.Series:
    numbers = values.astype(np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if logarithmic(low, high):
        numbers = numbers.map(np.log)
        low, high = float(np.log(low)), float(np.log(high))
    return ((numbers - low) / (high - low)).fillna(0.5) if high > low else numbers * 0.0
