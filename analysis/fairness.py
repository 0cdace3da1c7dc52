"""Performance and fairness as functions of a method's own hyper-parameter (α, τ, λ, c, ...)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from analysis.objective import numeric_parameters, searched_settings
from analysis.pareto import nondominated
from analysis.results import Results
from analysis.scores import MEASURES, score
from analysis.wording import number

CONTROLLED = ("sensitivity", "replicate")
"""Phases whose trials at one value differ from those at another in nothing else that matters."""
SOURCES = (*CONTROLLED, "search")


def fairness_sweep(results: Results) -> pd.DataFrame:
    """Every measure at every value of every method's own hyper-parameters.

    Of each method the first of these that varies something: trials of phase ``sensitivity`` (one
    hyper-parameter varied, all else at its best; each variant of the method by itself); replicates
    of several variants of the method, each tuned and trained anew at its own value (FairGrad with
    α = 1, 2, 5, 10 as four methods of a study); the trials of its search, in which everything
    varies at once.

    Args:
        results: A loaded folder.

    Returns:
        One row for each method, hyper-parameter and value: ``method``, ``variant`` (whose values
        these are; the method where they are those of several variants), ``parameter``, ``value``,
        ``source`` (phase), ``split``, ``trials``, and the mean of each of `scores.MEASURES` with
        ``<measure>_se``; ``on_front``: not dominated in (`delta_m`, `delta_m_variance`) among the
        values of the same parameter. Sorted by method, parameter, value.
    """
    finished = results.finished
    chosen = finished[finished["phase"].isin(SOURCES)]
    tables = []
    for method, everything in chosen.groupby("method", sort=False):
        for source in SOURCES:
            own = everything[everything["phase"] == source]
            found = [
                table.assign(method=str(method), variant=variant)
                for variant, part in _parts(results, str(method), own, source)
                for table in _tables(results, part, source)
            ]
            if found:
                tables.extend(found)
                break
    columns = [
        *("method", "variant", "parameter", "value", "source", "split", "trials", "on_front"),
        *(name for m in MEASURES for name in (m, f"{m}_se")),
    ]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def _parts(
    results: Results, method: str, own: pd.DataFrame, source: str
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The trials that belong together, with the variant whose they are."""
    owners = own["variant"].map(lambda variant: _owner(results, str(variant)))
    if source == "sensitivity":
        for owner, part in own.groupby(owners, sort=False):
            yield str(owner), part
    elif not own.empty:
        yield (str(owners.iloc[0]) if owners.nunique() == 1 else method), own


def _owner(results: Results, variant: str) -> str:
    """The variant of which one hyper-parameter is varied: ``fair`` of ``fair[alpha=2]``."""
    known = [str(name) for name in results.manifest.get("methods", {})]
    if variant in known:
        return variant
    owners = [name for name in known if variant.startswith(f"{name}[")]
    return max(owners, key=len, default=variant)


def _tables(results: Results, own: pd.DataFrame, source: str) -> Iterator[pd.DataFrame]:
    """One table for each hyper-parameter that the trials vary."""
    test = own[[metric.column("test") for metric in results.metrics]]
    split = "test" if test.notna().all(axis=None) else "validation"
    scores = score(results, own, split).set_index(own.index)
    for parameter in numeric_parameters(own, prefixes=_prefixes(source)):
        values = pd.to_numeric(own[parameter])
        moved = values.notna()
        if source in CONTROLLED:
            moved &= _varied_alone(own, parameter, _prefixes(source))
        grouped = scores[moved].groupby(values[moved])[list(MEASURES)]
        means, errors = grouped.mean(), grouped.sem().add_suffix("_se")
        if len(means) < 2:
            continue
        table = means.join(errors)
        table["on_front"] = nondominated(means[["delta_m", "delta_m_variance"]], [False, False])
        table["trials"] = grouped.size()
        table["value"] = table.index.astype(np.float64)
        table["parameter"] = parameter.partition(".")[2]
        table["source"] = source
        table["split"] = split
        yield table


def fairness_sentences(sweep: pd.DataFrame, label: Callable[[str], str] = str) -> list[str]:
    """For each method and hyper-parameter: the best value for performance and for fairness."""
    said = []
    controlled = sweep[sweep["source"].isin(CONTROLLED)]
    grouped = controlled.groupby(["method", "variant", "parameter"], sort=False)
    for (_, variant, parameter), own in grouped:
        kept = own.dropna(subset=["delta_m", "delta_m_variance"])
        if kept.empty:
            continue
        best = kept.sort_values("delta_m", kind="stable").iloc[0]
        fair = kept.sort_values("delta_m_variance", kind="stable").iloc[0]
        text = (
            f"{label(str(variant))}: Δm is best at {parameter} = {best['value']:g} "
            f"{_measured(best)}"
        )
        text += (
            ", where the drops are also most even."
            if best["value"] == fair["value"]
            else f", the drops are most even at {fair['value']:g} {_measured(fair)}."
        )
        said.append(text)
    return said


def _measured(row: pd.Series) -> str:
    return (
        f"({number(float(row['delta_m']), 2)} %, variance "
        f"{number(float(row['delta_m_variance']), 1)})"
    )


def _prefixes(source: str) -> tuple[str, ...]:
    """Training settings are held still only by sensitivity sweeps, which may vary them too."""
    return ("hp.", "training.") if source == "sensitivity" else ("hp.",)


def _varied_alone(trials: pd.DataFrame, parameter: str, prefixes: tuple[str, ...]) -> pd.Series:
    """Trials in which every other parameter has its most frequent value."""
    alone = pd.Series(np.ones(len(trials), dtype=bool), index=trials.index)
    settings = searched_settings(trials, prefixes=prefixes)
    for other in settings.columns.drop(parameter):
        alone &= settings[other] == settings[other].mode().iloc[0]
    return alone
