"""A loss weighting of one's own, given as an objective, against the packaged ones."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from mtl_methods import make_method
from mtl_methods.core.loss_weighting import ObjectiveWeighting
from mtl_methods.core.method import Need, StepInputs

LOSSES = [0.5, 4.0, 1e-3]


class Variances(ObjectiveWeighting):
    """Uncertainty weighting as its paper writes it."""

    name: ClassVar[str] = "variances"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.OWN_PARAMETERS})

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        self.own.log_variance = nn.Parameter(
            torch.zeros(len(self.tasks), device=device, dtype=dtype)
        )

    def objective(self, losses: Tensor, inputs: StepInputs) -> Tensor:
        log_variance = self.own.log_variance
        return 0.5 * (torch.exp(-log_variance) * losses + log_variance).sum()


class Logarithms(ObjectiveWeighting):
    """Scale-invariant weighting, which has no parameters."""

    name: ClassVar[str] = "logarithms"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES})

    def objective(self, losses: Tensor, inputs: StepInputs) -> Tensor:
        return losses.log().sum()


def test_weights_and_own_parameters_follow_the_objective(step):
    ours, packaged = Variances(), make_method("uw")
    for method in (ours, packaged):
        method.setup("abc", dtype=torch.float64)
    steps = [torch.optim.SGD(method.parameters(), lr=0.3) for method in (ours, packaged)]
    for _ in range(3):
        assert step(ours, LOSSES) == pytest.approx(step(packaged, LOSSES), rel=1e-12)
        for optimiser in steps:
            optimiser.step()
            optimiser.zero_grad()
    (found,), (expected,) = ours.parameters(), packaged.parameters()
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    assert found.tolist() != [0.0, 0.0, 0.0]


def test_an_objective_without_parameters(step):
    assert step(Logarithms(), LOSSES) == pytest.approx(step(make_method("si"), LOSSES))
