"""Fixed weights: would the weights that a dynamic method ends at have done as well?

From the replicates of a source method: in each epoch the mean effective weights, normalised to sum
1, averaged over seeds; their exponential moving average, started at the first epoch; its last
value, normalised to sum 1. These weights, times K, are trained as static weights with the source's
training settings, so that equal weights coincide with a plain sum of losses. Nothing is selected
by them, so that they are evaluated on the test split like the replicates.

Source: "Uniform Loss vs. Specialized Optimization", section on fixed weights (Table 2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.definition.resolved import Candidate
from sweeps.phases.context import Context
from sweeps.phases.static import static_candidate
from sweeps.phases.units import Batch, Blocked, Unit
from sweeps.planning.trials import Trial

NAME = "fixed_weights"


def units(context: Context) -> list[Unit]:
    """The trials of each source's weights."""
    fixed = context.resolved.study.fixed_weights
    if fixed is None:
        return []
    return [
        _unit(context, context.resolved.candidate(source), fixed.beta) for source in fixed.sources
    ]


def _unit(context: Context, source: Candidate, beta: float) -> Unit:
    resolved = context.resolved
    seeds = resolved.fresh_seeds(resolved.fixed_seeds)
    variant = f"fixed({source.variant})"

    def plan() -> list[Trial] | None:
        records = context.replicas[source.variant].finished()
        configuration = context.best(source.variant)
        reference = context.reference() if context.has_reference else None
        if records is None or configuration is None:
            return None
        courses = [record.epochs() for record in records]
        weights = final_weights(courses, resolved.task_names, beta, source.variant)
        static = static_candidate(resolved.task_names, variant, weights, configuration)
        return [
            resolved.trial(
                NAME,
                static,
                static.space.configuration({}),
                seed,
                reference=reference,
                evaluate_test=True,
                source_method=source.variant,
            )
            for seed in seeds
        ]

    return Batch(NAME, variant, len(seeds), plan)


def final_weights(
    courses: Sequence[Sequence[Mapping[str, Any]]],
    tasks: Sequence[str],
    beta: float,
    variant: str = "the method",
) -> dict[str, float]:
    """The weights that a method's effective weights converge to.

    With ``w_t`` the weights of epoch t, normalised and averaged over seeds: ``m_1 = w_1``,
    ``m_t = β m_{t-1} + (1 − β) w_t``; the result is ``m_T`` normalised to sum 1.

    Args:
        courses: For each seed the rows of its epochs, with ``weight.<task>``.
        tasks: The K tasks.
        beta: β in [0, 1).
        variant: Whose weights these are, for messages.

    Returns:
        Weights by task that sum to 1.

    Raises:
        Blocked: If weights are missing, not finite, or cannot be normalised.
    """
    length = min(len(course) for course in courses)
    if length == 0:
        raise Blocked(f"{variant} recorded no epoch, so no fixed weights can be taken from it")
    average: list[float] = []
    for epoch in range(length):
        rows = [_normalised(course[epoch], tasks, variant) for course in courses]
        mean = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
        if not average:
            average = mean
        average = [beta * old + (1.0 - beta) * new for old, new in zip(average, mean, strict=True)]
    total = math.fsum(average)
    if not total > 0.0:
        raise Blocked(f"the effective weights of {variant} do not average to a positive sum")
    if min(average) < 0.0:
        raise Blocked(
            f"an effective weight of {variant} averages to less than 0, which is no static weight"
        )
    return {task: weight / total for task, weight in zip(tasks, average, strict=True)}


def _normalised(row: Mapping[str, Any], tasks: Sequence[str], variant: str) -> list[float]:
    weights = [row.get(f"weight.{task}") for task in tasks]
    if any(not isinstance(weight, int | float) or not math.isfinite(weight) for weight in weights):
        raise Blocked(f"{variant} has no effective weights, so none can be fixed")
    total = math.fsum(weights)  # type: ignore[arg-type]
    if total <= 0.0:
        raise Blocked(f"the effective weights of {variant} sum to {total:g} in an epoch")
    return [weight / total for weight in weights]  # type: ignore[operator]
