"""What must survive and what must not change: seeds, saved states, missing tasks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_methods.core.method import Method, Need
from mtl_methods.errors import NonFiniteLossError
from mtl_methods.testing.expectations import (
    ContractViolation,
    Factory,
    expect,
    expect_consistent,
    fresh,
    round_trip,
    same_state,
    variant,
)
from mtl_methods.testing.stage import Outcome, Stage, network_stage

__all__ = [
    "check_determinism",
    "check_missing_task",
    "check_non_finite_loss",
    "check_save_and_load",
    "check_save_between_updates",
]


def check_determinism(factory: Factory) -> None:
    """A seed before set-up fixes every bit, whatever else draws random numbers meanwhile."""
    first, second = network_stage(3), network_stage(3)
    one, other = fresh(factory, first, seed=3), fresh(factory, second, seed=3)
    torch.manual_seed(4)
    for _ in range(5):
        state = torch.get_rng_state()
        a = first.step(one)
        expect(
            bool(torch.equal(state, torch.get_rng_state())),
            "a step draws from the global random generator; draw from self.generator",
        )
        torch.rand(7)
        _expect_identical(a, second.step(other), "two runs under one seed differ")


def check_save_and_load(factory: Factory) -> None:
    """Saved, loaded into a new method, continued: bit-identical."""
    for steps in (1, 2, 3):
        stage = network_stage(3)
        method = fresh(factory, stage)
        stage.run(method, steps)
        saved = round_trip(method.state_dict())
        twin = copy.deepcopy(stage)
        expected = stage.run(method, 4)
        torch.manual_seed(99)
        restored = factory()
        if steps == 2:
            twin.setup(restored)
        restored.load_state_dict(saved)
        expect(
            same_state(saved, round_trip(restored.state_dict())),
            "a loaded state is not the saved one",
        )
        for one, other in zip(expected, twin.run(restored, 4), strict=True):
            _expect_identical(one, other, f"a run restored after {steps} steps differs")
        expect(same_state(method.state_dict(), restored.state_dict()), "states drift apart")
    if Need.LOSSES_AFTER_STEP in factory().needs:
        _check_saved_within_a_step(factory)


def _check_saved_within_a_step(factory: Factory) -> None:
    stage = network_stage(3)
    method = fresh(factory, stage)
    stage.run(method, 2)
    features, losses = stage.forward(stage.parameters, 2)
    extra = stage.served(method, features, stage.tasks, 2)
    method.backward(losses, stage.shared.values(), **extra)
    restored = factory()
    restored.load_state_dict(round_trip(method.state_dict()))
    after = {task: loss.detach() * 0.9 for task, loss in losses.items()}
    after["task_0"] = after["task_0"] * 0.8
    method.after_step(after)
    restored.after_step(after)
    expect(
        same_state(method.state_dict(), restored.state_dict()),
        "a state saved between backward and after_step is incomplete",
    )


def check_save_between_updates(factory: Factory) -> None:
    """As :func:`check_save_and_load` where weights are found only every third step."""
    check_save_and_load(variant(factory, update_weights_every=3))


def _expect_identical(one: Outcome, other: Outcome, what: str) -> None:
    expect(bool(torch.equal(one.written, other.written)), f"{what} in the shared gradient")
    expect((one.weights is None) == (other.weights is None), f"{what} in the weights")
    if one.weights is not None and other.weights is not None:
        expect(bool(torch.equal(one.weights, other.weights)), f"{what} in the weights")
    for task in one.tasks:
        expect(bool(torch.equal(one.heads[task][1], other.heads[task][1])), f"{what} in a head")
    expect(same_state(one.own, other.own), f"{what} in the method's own parameters")


def check_missing_task(factory: Factory) -> None:
    """A task that is not in a batch keeps its state, gets no gradient, and comes back."""
    stage = network_stage(3)
    method = fresh(factory, stage)
    stage.run(method, 4)
    missing = stage.tasks[2]
    before = _state_of(method, missing)
    outcome = stage.step(method, tasks=stage.tasks[:2])
    expect_consistent(outcome, 1e-9, "a task is missing")
    head = stage.heads[missing].values()
    expect(
        all(p.grad is None or not bool(p.grad.any()) for p in head),
        "the head of a missing task got a gradient",
    )
    after = _state_of(method, missing)
    for path, value in before.items():
        expect(
            same_state(value, after.get(path)),
            f"the state {path} of a missing task changed from {value} to {after.get(path)}",
        )
    for back in stage.each_step(method, 3):
        expect_consistent(back, 1e-9, "a task came back")
    _check_first_batch(factory)


def _check_first_batch(factory: Factory) -> None:
    stage = network_stage(3)
    method = fresh(factory, stage)
    outcome = stage.step(method, tasks=stage.tasks[:2])
    expect_consistent(outcome, 1e-9, "a task is missing from the first batch")
    expect_consistent(stage.step(method), 1e-9, "a task comes in the second batch")


def _state_of(method: Method, task: str) -> dict[str, Any]:
    """Everything in a state that belongs to one task, by its path."""
    found: dict[str, Any] = {}
    _collect(method.state_dict(), method.tasks, task, "", found)
    return copy.deepcopy(found)


def _collect(value: Any, tasks: Sequence[str], task: str, path: str, found: dict[str, Any]) -> None:
    row, count = tasks.index(task), len(tasks)
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if key in tasks:
                if key == task:
                    found[f"{path}.{key}"] = entry
            else:
                _collect(entry, tasks, task, f"{path}.{key}", found)
    elif isinstance(value, Tensor):
        for dimension, size in enumerate(value.shape[:2]):
            if size == count:
                found[f"{path}[dimension {dimension}]"] = value.select(dimension, row).clone()
    elif isinstance(value, list | tuple) and len(value) == count and value[row] != task:
        found[f"{path}[{row}]"] = value[row]


def check_non_finite_loss(factory: Factory) -> None:
    """A NaN or infinite loss is an error that names the task, and changes nothing."""
    for value in (float("nan"), float("inf"), float("-inf")):
        stage = network_stage(3)
        method = fresh(factory, stage)
        stage.run(method, 2)
        before = round_trip(method.state_dict())
        _expect_refused(stage, method, value)
        expect(
            same_state(before, round_trip(method.state_dict())),
            f"a loss of {value} changed the method's state",
        )


def _expect_refused(stage: Stage, method: Method, value: float) -> None:
    try:
        stage.step(
            method,
            prepare=lambda losses: {**losses, "task_1": losses["task_1"] * value},
        )
    except NonFiniteLossError as error:
        expect(error.task == "task_1", f"the error names {error.task}, not task_1")
        everything = (*stage.parameters.values(), *method.parameters())
        expect(all(p.grad is None for p in everything), f"a loss of {value} wrote gradients")
        return
    except Exception as error:
        raise ContractViolation(f"a loss of {value} is {error!r}") from error
    raise ContractViolation(f"a loss of {value} must be a NonFiniteLossError")
