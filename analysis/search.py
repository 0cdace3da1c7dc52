"""How the search went: were the baselines tuned as well as the rest, and what mattered?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold

from analysis.measures import Floats
from analysis.objective import is_choice, search_objective, searched_settings
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
        ``seeds``, ``unfinished`` and the parameters that vary: numbers, and choices as text.
        """
        settings = searched_settings(self.trials, prefixes=PREFIXES)
        table = settings.assign(
            configuration_id=self.trials["configuration_id"],
            objective=self.objective,
            unfinished=self.trials["status"] != "finished",
        )
        grouped = table.groupby("configuration_id", sort=False)
        found = grouped[list(settings.columns)].first()
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
        ``name``, ``objective`` (label), ``higher_is_better`` (its direction), ``tried``, ``trials``
        (spent so far), ``value`` (of this configuration), ``best``; NaN until the first one
        finished.
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
                    "higher_is_better": tuned.higher_is_better,
                    "tried": np.arange(1, len(found) + 1),
                    "trials": spent,
                    "value": values,
                    "best": running.ffill(),
                }
            )
        )
    columns = ["name", "objective", "higher_is_better", "tried", "trials", "value", "best"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def response_curves(results: Results) -> pd.DataFrame:
    """Objective of every configuration against each parameter that the search varied.

    Returns:
        ``name``, ``parameter``, ``value`` (a number, or a choice as text), ``objective``, ``best``
        (the chosen configuration), ``measure`` (what the objective is), ``higher_is_better``.
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
                    "value": found[parameter].astype(object),
                    "objective": found["objective"],
                    "best": found["configuration_id"] == best,
                    "measure": tuned.label,
                    "higher_is_better": tuned.higher_is_better,
                }
            ).dropna(subset=["value"])
            for parameter in varied_parameters(found)
        )
    columns = ["name", "parameter", "value", "objective", "best", "measure", "higher_is_better"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def importance(results: Results, *, trees: int = 100, seed: int = 0) -> pd.DataFrame:
    """How much of the objective's variation each hyper-parameter explains, for every method.

    A random forest predicts the rank of the objective from the parameters; importance is the gain
    in squared error, on configurations that the forest was not fitted to, when one parameter is
    permuted; a choice is one column for each of its values, permuted together. Ranks, because a few
    terrible configurations would otherwise decide everything.

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
        harm, explained = _held_out_harm(
            [_encoded(found[parameter]) for parameter in parameters],
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


def _encoded(values: pd.Series) -> Floats:
    """A parameter as columns of numbers: itself, or one for each value of a choice."""
    if is_choice(values):
        return np.asarray(pd.get_dummies(values), dtype=np.float64)
    return np.asarray(values.fillna(values.median()), dtype=np.float64)[:, None]


def _held_out_harm(
    parameters: list[Floats], target: Floats, trees: int, seed: int
) -> tuple[Floats, float]:
    """Squared error that permuting each parameter adds on held-out rows, and the R² without it."""
    rng = np.random.default_rng(seed)
    inputs = np.concatenate(parameters, axis=1)
    owners = np.repeat(np.arange(len(parameters)), [part.shape[1] for part in parameters])
    harm, missed = np.zeros(len(parameters)), 0.0
    for fitted, held in KFold(FOLDS, shuffle=True, random_state=seed).split(inputs):
        forest = RandomForestRegressor(trees, min_samples_leaf=2, random_state=seed, n_jobs=1)
        forest.fit(inputs[fitted], target[fitted])
        rows = np.tile(inputs[held], (1 + REPEATS * len(parameters), 1, 1))
        for place in range(1, len(rows)):
            own = owners == (place - 1) // REPEATS
            rows[place][:, own] = rng.permutation(rows[place][:, own])
        predicted = forest.predict(rows.reshape(-1, inputs.shape[1])).reshape(len(rows), -1)
        errors = ((predicted - target[held]) ** 2).sum(axis=1)
        missed += float(errors[0])
        harm += errors[1:].reshape(-1, REPEATS).mean(axis=1) - errors[0]
    return np.maximum(harm, 0.0), 1.0 - missed / float(((target - target.mean()) ** 2).sum())


def best_and_neighbours(results: Results, neighbours: int = 3) -> pd.DataFrame:
    """The best configuration of every method beside the ones closest to it.

    A best value that is far better than its neighbours is luck or a narrow optimum. Distance is
    Euclidean over parameters, each scaled to the range tried (logarithmic where that spans more
    than a factor of 30); two different values of a choice are 1 apart, like the ends of a range.

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
        chosen = found["configuration_id"] == best
        gaps = pd.DataFrame({p: _gaps(found[p], chosen) for p in parameters}, index=found.index)
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
                        f"{k} = {v if isinstance(v, str) else f'{v:.3g}'}"
                        for k, v in settings.items()
                        if pd.notna(v)
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


def _gaps(values: pd.Series, chosen: pd.Series) -> pd.Series:
    """How far each value is from that of the one chosen row."""
    choice = is_choice(values)
    scaled = values if choice else _scaled(values)
    own = scaled[chosen].iloc[0]
    gaps: pd.Series = (scaled != own).astype(np.float64) if choice else scaled - own
    return gaps


def _scaled(values: pd.Series) -> pd.Series:
    numbers = values.astype(np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if logarithmic(low, high):
        numbers = numbers.map(np.log)
        low, high = float(np.log(low)), float(np.log(high))
    return ((numbers - low) / (high - low)).fillna(0.5) if high > low else numbers * 0.0
