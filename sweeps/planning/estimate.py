"""How long a study takes: a cost model for trials, and a measurement of a few steps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mtl_methods import Need
from sweeps.definition.resolved import SCALARISATION, ResolvedStudy
from sweeps.phases.sensitivity import sensitivity_labels
from sweeps.planning.plan import Plan

if TYPE_CHECKING:
    from trainables.problem import Splits

__all__ = ["measured_epoch_seconds", "relative_cost", "study_seconds", "variant_costs"]

# A forward pass is one unit of work and a backward pass two; evaluation adds a little.
_FORWARD, _BACKWARD = 1.0, 2.0
# What a sweep spends beside training, per trial and once (start of Ray, report).
SECONDS_PER_TRIAL, SECONDS_ONCE = 0.2, 15.0


def relative_cost(needs: frozenset[Need], backward_passes: str, tasks: int) -> float:
    """Cost of a step against one of linear scalarisation.

    Args:
        needs: What the method declares.
        backward_passes: Its cost in backward passes as declared: ``"1"``, ``"K"``, ...
        tasks: K.
    """
    passes = tasks if "K" in backward_passes else 1
    forwards = 2 if Need.LOSSES_AFTER_STEP in needs else 1
    return (forwards * _FORWARD + passes * _BACKWARD) / (_FORWARD + _BACKWARD)


def variant_costs(resolved: ResolvedStudy) -> dict[str, float]:
    """Relative cost of each method of a study by label; static weights cost 1."""
    tasks = len(resolved.tasks)
    costs = {
        candidate.variant: relative_cost(
            candidate.info.needs, candidate.info.backward_passes, tasks
        )
        for candidate in resolved.candidates
    }
    further = {
        f"{variant}/{place}": cost
        for variant, cost in costs.items()
        for place in range(2, resolved.max_configurations + 1)
    }
    swept = {label: costs[method] for label, method in sensitivity_labels(resolved).items()}
    return costs | further | swept | {candidate.variant: 1.0 for candidate in resolved.baselines}


def study_seconds(plan: Plan, epoch_seconds: float, slots: int) -> float:
    """Estimated wall-clock seconds of the trials of a plan that have not ended.

    Args:
        plan: The plan.
        epoch_seconds: Seconds of an epoch of linear scalarisation.
        slots: How many trials run at once.
    """
    costs = variant_costs(plan.resolved)
    epochs = int(plan.resolved.protocol["epochs"])
    work = sum(
        unit.seconds_left(costs.get(unit.variant, 1.0) * epochs * epoch_seconds + SECONDS_PER_TRIAL)
        for unit in plan.units
        if unit.blocked is None
    )
    return SECONDS_ONCE + work / slots if work else 0.0


def measured_epoch_seconds(
    resolved: ResolvedStudy, splits: Splits, *, seconds: float = 1.0
) -> float:
    """Seconds of an epoch of linear scalarisation, from a few steps on this machine.

    Takes optimiser steps for about ``seconds``; nothing is kept.

    Args:
        resolved: The study.
        splits: The data of its problem.
        seconds: For how long, about.
    """
    import torch

    from mtl_methods import make_method
    from trainables.data import count_items, iterate, to_tensors

    problem, training = resolved.problem, resolved.protocol
    tensors = to_tensors(splits)
    threads = torch.get_num_threads()
    torch.set_num_threads(resolved.study.resources.cpus_per_trial)
    try:
        model = problem.build_model(seed=0)
        method = make_method(SCALARISATION)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        items = count_items(tensors["train"]) + 0.4 * count_items(tensors["validation"])
        done, spent, first = 0, 0.0, True
        for count, batch in iterate(problem, tensors["train"], int(training["batch_size"])):
            started = time.perf_counter()
            _, outputs = model(batch)
            losses: Mapping[str, Any] = problem.losses(outputs, batch)
            optimizer.zero_grad()
            method.backward(losses, model.shared.parameters())
            optimizer.step()
            if not first:  # the first step allocates
                done += count
                spent += time.perf_counter() - started
            first = False
            if spent > seconds:
                break
        return spent * items / done if done else 0.0
    finally:
        torch.set_num_threads(threads)
