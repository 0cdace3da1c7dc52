"""Weight sweep: linear scalarisation over points of the simplex, with the settings of the best LS.

The points are trained as weights times K: equal weights coincide with a plain sum of losses.
Nothing is selected by them, so that they are evaluated on the test split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeps.definition.resolved import SCALARISATION, Candidate
from sweeps.phases.context import Context
from sweeps.phases.static import static_candidate
from sweeps.phases.units import Batch, Unit
from sweeps.planning.trials import Trial

NAME = "weight_sweep"


def units(context: Context) -> list[Unit]:
    """The trials of each point."""
    sweep, source = context.resolved.study.weight_sweep, context.resolved.scalarisation
    if sweep is None or source is None:
        return []
    seeds = context.resolved.fresh_seeds(sweep.seeds)
    points = context.resolved.points
    return [
        _unit(context, source, label, point, seeds)
        for label, point in zip(labels(points), points, strict=True)
    ]


def labels(points: Sequence[Mapping[str, float]]) -> list[str]:
    """``ls[0.10,1.90]``: the weights as trained, with as many decimals as tell them apart."""
    found: list[str] = []
    for decimals in (2, 3, 4, 6, 17):
        found = [
            f"{SCALARISATION}["
            + ",".join(f"{len(point) * weight:.{decimals}f}" for weight in point.values())
            + "]"
            for point in points
        ]
        if len(set(found)) == len(found):
            break
    return found


def _unit(
    context: Context,
    source: Candidate,
    variant: str,
    point: Mapping[str, float],
    seeds: list[int],
) -> Unit:
    resolved = context.resolved

    def plan() -> list[Trial] | None:
        configuration = context.best(source.variant)
        reference = context.reference() if context.has_reference else None
        if configuration is None or (context.has_reference and reference is None):
            return None
        static = static_candidate(resolved.task_names, variant, point, configuration)
        return [
            resolved.trial(
                NAME,
                static,
                static.space.configuration({}),
                seed,
                reference=reference,
                evaluate_test=True,
                static_weights=point,
            )
            for seed in seeds
        ]

    return Batch(NAME, variant, len(seeds), plan)
