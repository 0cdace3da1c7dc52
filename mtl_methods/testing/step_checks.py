"""What one step must do: gradients, weights, heads, tasks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_methods.core.compose import ComposedMethod
from mtl_methods.core.method import Method, Need
from mtl_methods.core.transform import TransformedMethod
from mtl_methods.errors import MissingNeedError, TaskError, UnknownNameError
from mtl_methods.testing.expectations import (
    ContractViolation,
    Factory,
    NotApplicable,
    close,
    expect,
    expect_consistent,
    fresh,
    variant,
)
from mtl_methods.testing.stage import Outcome, Stage, network_stage

__all__ = [
    "check_accumulation",
    "check_feature_space",
    "check_frozen_and_unused",
    "check_head_weighting",
    "check_loss_without_graph",
    "check_named_heads",
    "check_needs_are_asked_for",
    "check_one_task",
    "check_order_of_losses",
    "check_permutation",
    "check_refusals",
    "check_update_weights_every",
    "check_weights",
]

_TIGHT = 1e-9
_SOLVED = 1e-6


def check_weights(factory: Factory) -> None:
    """``weights @ raw gradients`` is the shared gradient written, for 2, 3 and 5 tasks."""
    for count in (2, 3, 5):
        stage = network_stage(count)
        method = fresh(factory, stage)
        expect(method.weights is None, "weights must be None before the first step")
        for number, outcome in enumerate(stage.each_step(method, 5)):
            expect_consistent(outcome, _TIGHT, f"{count} tasks, step {number}")


def check_one_task(factory: Factory) -> None:
    """With one task a step goes down its gradient."""
    stage = network_stage(1)
    method = fresh(factory, stage)
    for outcome in stage.each_step(method, 3):
        expect_consistent(outcome, _TIGHT, "one task")
        slope = float(outcome.raw[0] @ outcome.written)
        expect(slope >= 0.0, "one task: the step goes up its loss")


def check_head_weighting(factory: Factory) -> None:
    """Heads get 1 or the shared weights, as ``head_weighting`` says."""
    if "+" in factory().name:
        _check_heads(factory)
        return
    left_out = []
    for rule in ("unit", "same"):
        try:
            changed = variant(factory, head_weighting=rule)
        except NotApplicable as reason:
            left_out.append(str(reason))
        else:
            _check_heads(changed)
    if len(left_out) == 2:
        raise NotApplicable("; ".join(left_out))


def _check_heads(factory: Factory) -> None:
    stage = network_stage(3)
    method = fresh(factory, stage)
    for outcome in stage.each_step(method, 3):
        _expect_heads(method, outcome)


def _expect_heads(method: Method, outcome: Outcome) -> None:
    factors = outcome.scales
    if _head_rule(method) == "same" and outcome.weights is not None:
        if "pareto_stationary" in outcome.events or "zero_gradient" in outcome.events:
            raise NotApplicable("the stage is not generic for this method")
        factors = outcome.weights
    for task, factor in zip(outcome.tasks, factors.tolist(), strict=True):
        raw, written = outcome.heads[task]
        expect(
            close(factor * raw, written, _TIGHT, abs(factor) * float(raw.abs().max()) + 1e-12),
            f"the head of {task} did not get {factor:g} times its gradient",
        )


def _head_rule(method: Method) -> str:
    """The head weighting of a method, or of the last part of a composition."""
    if isinstance(method, TransformedMethod):
        return _head_rule(method.method)
    if isinstance(method, ComposedMethod):
        return _head_rule(method.gradient)
    rule: str = getattr(method, "head_weighting", "unit")
    return rule


def check_named_heads(factory: Factory) -> None:
    """Passing ``heads`` or leaving them to be found is the same."""
    first, second = network_stage(3), network_stage(3)
    found = first.run(fresh(factory, first), 3)
    named = second.run(fresh(factory, second), 3, name_heads=True)
    for one, other in zip(found, named, strict=True):
        expect(close(one.written, other.written, _TIGHT), "heads= changes the shared gradient")
        for task in one.tasks:
            expect(
                close(one.heads[task][1], other.heads[task][1], _TIGHT),
                "heads= changes the gradient of a head",
            )


def check_accumulation(factory: Factory) -> None:
    """``backward`` adds to ``.grad``."""
    first, second = network_stage(3), network_stage(3)
    plain = first.run(fresh(factory, first), 2, update=False)
    onto = second.run(fresh(factory, second), 2, update=False, before=1.0)
    for one, other in zip(plain, onto, strict=True):
        expect(close(one.written, other.written, _SOLVED), "shared .grad was not added to")
        for task in one.tasks:
            expect(
                close(one.heads[task][1], other.heads[task][1], _SOLVED),
                "the .grad of a head was not added to",
            )


def check_order_of_losses(factory: Factory) -> None:
    """The order in which a step names its losses does not matter."""
    first, second = network_stage(3), network_stage(3)
    forward = first.run(fresh(factory, first), 4)
    order = tuple(reversed(second.tasks))
    backward = second.run(fresh(factory, second), 4, tasks=order)
    for one, other in zip(forward, backward, strict=True):
        _expect_same_by_task(one, other, "the order of the losses changes")


def check_permutation(factory: Factory) -> None:
    """Weights follow their tasks when these are set up in another order."""
    if not factory().permutation_equivariant:
        raise NotApplicable("the method declares that the order of tasks matters")
    names = ("ant", "bee", "cat", "dog")
    first, second = network_stage(names), network_stage(("cat", "ant", "dog", "bee"))
    one_run = first.run(fresh(factory, first), 4)
    other_run = second.run(fresh(factory, second), 4)
    for one, other in zip(one_run, other_run, strict=True):
        _expect_same_by_task(one, other, "the order of the tasks changes")


def _expect_same_by_task(one: Outcome, other: Outcome, what: str) -> None:
    expect(close(one.written, other.written, _SOLVED), f"{what} the shared gradient")
    expect((one.weights is None) == (other.weights is None), f"{what} whether there are weights")
    if one.weights is not None and other.weights is not None:
        order = [other.tasks.index(task) for task in one.tasks]
        expect(close(one.weights, other.weights[order], _SOLVED), f"{what} the weights")


def check_frozen_and_unused(factory: Factory) -> None:
    """Frozen and unused parameters get no gradient; one that only one task uses gets its own."""
    stage = network_stage(3)
    stage.shared["trunk.bias"].requires_grad_(False)
    stage.heads["task_1"]["head.task_1.bias"].requires_grad_(False)
    stage.shared["unused"] = torch.ones(2, dtype=torch.float64, requires_grad=True)
    if Need.FEATURES not in factory().needs:
        _add_parameter_of_one_task(stage)
    method = fresh(factory, stage)
    for outcome in stage.each_step(method, 3):
        expect_consistent(outcome, _TIGHT, "frozen and unused parameters")
        for name in ("trunk.bias", "unused"):
            gradient = stage.shared[name].grad
            expect(gradient is None, f"the parameter {name!r} got a gradient")
        expect(
            stage.heads["task_1"]["head.task_1.bias"].grad is None,
            "a frozen parameter of a head got a gradient",
        )


def _add_parameter_of_one_task(stage: Stage) -> None:
    stage.shared["only_first"] = torch.ones(2, dtype=torch.float64, requires_grad=True)
    plain = stage.forward

    def forward(parameters: Mapping[str, Tensor], batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        features, losses = plain(parameters, batch)
        first = losses["task_0"] + 0.1 * (parameters["only_first"] ** 2).sum()
        return features, {**losses, "task_0": first}

    stage.forward = forward


def check_loss_without_graph(factory: Factory) -> None:
    """A loss that is a constant has no gradient to give; if all are, that is an error."""
    if Need.VALIDATION_BATCH in factory().needs:
        raise NotApplicable("the method differentiates its own evaluations of the model")
    stage = network_stage(3)
    plain = stage.forward

    def forward(parameters: Mapping[str, Tensor], batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        features, losses = plain(parameters, batch)
        return features, {**losses, "task_1": losses["task_1"].detach()}

    stage.forward = forward
    for outcome in stage.each_step(fresh(factory, stage), 2):
        expect_consistent(outcome, _TIGHT, "a loss without graph")
    try:
        stage.step(
            fresh(factory, stage),
            prepare=lambda losses: {task: loss.detach() for task, loss in losses.items()},
        )
    except TaskError:
        return
    raise ContractViolation("losses that are all without graph must be a TaskError")


def check_feature_space(factory: Factory) -> None:
    """Gradients on the features give the same identity, and features must be passed."""
    in_features = variant(factory, gradients_on="features")
    stage = network_stage(3)
    method = fresh(in_features, stage)
    for outcome in stage.each_step(method, 3):
        expect_consistent(outcome, _TIGHT, "gradients on features")
    check_needs_are_asked_for(in_features)


def check_update_weights_every(factory: Factory) -> None:
    """Between two updates the weights stay, and are still those of the gradient written."""
    stage = network_stage(3)
    method = fresh(variant(factory, update_weights_every=3), stage)
    outcomes = stage.run(method, 5)
    for outcome in outcomes:
        expect_consistent(outcome, _TIGHT, "update_weights_every=3")
        _expect_heads(method, outcome)
    first = outcomes[0].weights
    for outcome in outcomes[1:3]:
        if first is not None and outcome.weights is not None:
            expect(close(first, outcome.weights, _TIGHT), "weights changed between two updates")


_NEEDS = {
    Need.FEATURES: "features",
    Need.VALIDATION_BATCH: "closure",
    Need.EXTRA_BATCHES: "extra_losses",
}


def check_needs_are_asked_for(factory: Factory) -> None:
    """A need that is not served is a ``MissingNeedError``, and nothing is written."""
    needs = factory().needs
    expect(Need.LOSSES in needs, "every method needs losses")
    for need, argument in _NEEDS.items():
        if need in needs:
            _expect_missing(factory, argument)
    if Need.PERFORMANCE_DROPS in needs:
        stage = network_stage(3)
        method = fresh(factory, stage)
        try:
            method.end_epoch(epoch=0, train_losses=dict.fromkeys(stage.tasks, 1.0))
        except MissingNeedError:
            pass
        else:
            raise ContractViolation("end_epoch without performance_drops must be refused")
    if Need.OWN_PARAMETERS in needs:
        _expect_own_parameters(factory)


def _expect_missing(factory: Factory, argument: str) -> None:
    stage = network_stage(3)
    method = fresh(factory, stage)
    features, losses = stage.forward(stage.parameters, 0)
    extra = stage.served(method, features, stage.tasks, 0)
    del extra[argument]
    try:
        method.backward(losses, stage.shared.values(), **extra)
    except MissingNeedError:
        untouched = all(p.grad is None for p in stage.parameters.values())
        expect(untouched, f"a step without {argument} wrote gradients")
        return
    raise ContractViolation(f"a step without {argument} must be a MissingNeedError")


def _expect_own_parameters(factory: Factory) -> None:
    method = factory()
    try:
        method.parameters()
    except TaskError:
        pass
    else:
        raise ContractViolation("parameters() before the tasks are known must be a TaskError")
    network_stage(3).setup(method)
    expect(bool(method.parameters()), "a method with own parameters must show them")


def check_refusals(factory: Factory) -> None:
    """Unknown tasks, losses that are no scalars and empty batches are refused."""
    stage = network_stage(3)
    method = fresh(factory, stage)
    features, losses = stage.forward(stage.parameters, 0)
    extra = stage.served(method, features, stage.tasks, 0)
    wrong: dict[str, dict[str, Tensor]] = {
        "an unknown task": {**losses, "unknown": losses["task_0"]},
        "a loss with two elements": {**losses, "task_1": torch.stack([losses["task_1"]] * 2)},
        "a batch without losses": {},
    }
    for what, refused in wrong.items():
        try:
            method.backward(refused, stage.shared.values(), **extra)
        except TaskError:
            continue
        raise ContractViolation(f"{what} must be a TaskError")
    try:
        method.backward(losses, stage.shared.values(), **extra, feature=features)
    except UnknownNameError:
        return
    raise ContractViolation("an unknown argument must be refused")
