"""The shipped checks find what they are there to find."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.core.gradient_weighting import Combination, GradientCombination
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.loss_weighting import LS
from mtl_methods.testing import (
    CHECKS,
    ContractViolation,
    NotApplicable,
    check_method,
    coinciding,
    matrix_stage,
    network_stage,
)


class Sound(LossWeighting):
    """Weights by the square root of the loss.

    Source: this test.
    """

    name: ClassVar[str] = "sound"
    summary: ClassVar[str] = "Square roots."
    paper: ClassVar[str] = "none"
    equation: ClassVar[str] = "w = sqrt(l)"
    scale_law: ClassVar[str] = "sqrt(s)"

    @property
    def scale_exponent(self):
        return 0.5

    def coefficients(self, inputs):
        return inputs.values.abs().sqrt()


def test_a_sound_method_passes():
    left_out = check_method(Sound)
    assert set(left_out) == {"feature_space", "update_weights_every", "save_between_updates"}


class TellsOtherWeights(Sound):
    def _step(self, inputs):
        super()._step(inputs)
        self.last_step.weights = self.last_step.weights * 2


class DrawsFromEverywhere(Sound):
    def coefficients(self, inputs):
        return torch.rand(len(inputs.tasks), dtype=torch.float64)


class ForgetsItsState(Sound):
    def coefficients(self, inputs):
        self.seen = getattr(self, "seen", 0) + 1
        return inputs.values / self.seen


class TouchesMissingTasks(Sound):
    def _initialise(self, device, dtype, feature_dim):
        self.state["mean"] = torch.ones(len(self.tasks), dtype=torch.float64)

    def coefficients(self, inputs):
        self.state["mean"] *= 0.9
        return self.state["mean"][inputs.index]


class DependsOnTheOrderOfTasks(Sound):
    def coefficients(self, inputs):
        return 1.0 + inputs.index.double()


class LiesAboutItsScaleLaw(Sound):
    @property
    def scale_exponent(self):
        return 0.0


class GoesUp(Sound):
    def coefficients(self, inputs):
        return -inputs.values


class BlowsUp(Sound):
    def _step(self, inputs):
        super()._step(inputs)
        for parameter in inputs.shared:
            parameter.grad *= math.inf


class DividesByNorms(GradientCombination):
    """Unit gradients, without a thought for zero ones.

    Source: this test.
    """

    name: ClassVar[str] = "divides"
    summary: ClassVar[str] = "Unit gradients."
    paper: ClassVar[str] = "none"
    equation: ClassVar[str] = "d = sum_k g_k / ||g_k||"

    def combine(self, matrix, gram, inputs):
        return Combination(combined=(matrix / matrix.norm(dim=1, keepdim=True)).sum(0))


class GivesTooFewCoefficients(Sound):
    def coefficients(self, inputs):
        return super().coefficients(inputs)[:-1]


class GivesTooFewWeights(DividesByNorms):
    def combine(self, matrix, gram, inputs):
        return Combination(weights=gram.diagonal()[:-1])


class SaysNothing(Sound):
    summary: ClassVar[str] = ""


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (TellsOtherWeights, "weights"),
        (DrawsFromEverywhere, "determinism"),
        (ForgetsItsState, "save_and_load"),
        (TouchesMissingTasks, "missing_task"),
        (DependsOnTheOrderOfTasks, "permutation"),
        (LiesAboutItsScaleLaw, "scale_law"),
        (GoesUp, "one_task"),
        (BlowsUp, "weights"),
        (DividesByNorms, "degenerate_gradients"),
        (SaysNothing, "declarations"),
        (GivesTooFewCoefficients, "head_weighting"),
        (GivesTooFewWeights, "head_weighting"),
        (GivesTooFewWeights, "weights"),
    ],
)
def test_a_broken_method_is_found(broken, check):
    with pytest.raises(ContractViolation):
        CHECKS[check](broken)


def test_methods_that_coincide_are_found():
    twins = {"ls": LS, "twin": LS, "sound": Sound}
    assert coinciding(twins) == [("ls", "twin")]


def test_a_check_that_says_nothing_says_so():
    with pytest.raises(NotApplicable, match="update_weights_every"):
        CHECKS["update_weights_every"](Sound)


def test_matrix_stage_has_the_gradients_it_was_given():
    rows = [[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]]
    outcome = matrix_stage(rows, [4.0, 9.0]).step(Sound())
    assert outcome.raw.tolist() == rows
    assert outcome.weights.tolist() == [2.0, 3.0]
    assert outcome.written.tolist() == [2.0, 1.0, 9.0]
    assert outcome.heads["task_1"][1].tolist() == [3.0]


def test_network_stage_depends_on_names_not_on_order():
    one, other = network_stage(("a", "b")), network_stage(("b", "a"))
    _, first = one.forward(one.parameters, 3)
    _, second = other.forward(other.parameters, 3)
    assert {task: loss.item() for task, loss in first.items()} == {
        task: loss.item() for task, loss in second.items()
    }


def test_stage_descends():
    stage = network_stage(2)
    first = stage.forward(stage.parameters, 0)[1]
    stage.run(make_method("ls"), 50, batch=0)
    last = stage.forward(stage.parameters, 0)[1]
    assert sum(last.values()) < 0.8 * sum(first.values())
