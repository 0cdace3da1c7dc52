"""Table 4 of the random-weighting paper: every loss weighting with every gradient weighting."""

from __future__ import annotations

import itertools

import pytest
import torch

from mtl_methods import list_methods, make_method, method_info
from mtl_methods.errors import TaskError
from mtl_methods.testing import network_stage

LOSS = ("ls", "uw", "dwa", "imtl_l", "rlw")
GRADIENT = (
    "mgda",
    "gradnorm",
    "pcgrad",
    "graddrop",
    "imtl_g",
    "gradvac",
    "cagrad",
    "rotograd",
    "rgw",
)
REGISTERED = list_methods()


@pytest.mark.parametrize(("loss", "gradient"), list(itertools.product(LOSS, GRADIENT)))
def test_pair_takes_consistent_steps(loss, gradient):
    name = f"{loss}+{gradient}"
    info = method_info(name)
    assert info.needs == REGISTERED[loss].needs | REGISTERED[gradient].needs
    assert all("." in parameter.name for parameter in info.hyperparameters)
    stage = network_stage(3)
    torch.manual_seed(0)
    method = make_method(name)
    stage.setup(method)
    for outcome in stage.run(method, 3):
        assert outcome.finite
        if outcome.weights is not None:
            expected = outcome.weights @ outcome.raw
            assert outcome.written.tolist() == pytest.approx(
                expected.tolist(), abs=1e-9 * float(outcome.raw.norm())
            )


@pytest.mark.parametrize("gradient", GRADIENT)
def test_equal_weighting_is_the_identity(gradient):
    runs = []
    for name in (gradient, f"ls+{gradient}"):
        stage = network_stage(3)
        torch.manual_seed(0)
        method = make_method(name)
        stage.setup(method)
        method.seed(7) if name == gradient else method.seed(6)  # the second part is seeded + 1
        runs.append(torch.cat([outcome.written for outcome in stage.run(method, 3)]))
    assert runs[0].tolist() == pytest.approx(runs[1].tolist(), rel=1e-6, abs=1e-12)


GRADIENT_METHODS = [name for name, info in REGISTERED.items() if info.family == "gradient"]
OF_POSITIVE_LOSSES = [
    name
    for name in GRADIENT_METHODS
    if "loss_floor" in {parameter.name for parameter in REGISTERED[name].hyperparameters}
]


@pytest.mark.parametrize("gradient", GRADIENT_METHODS)
@pytest.mark.parametrize("transform", ["log", "rescale", "alpha_fair"])
def test_transforms_go_before_every_gradient_weighting(transform, gradient):
    options = {}
    if gradient in OF_POSITIVE_LOSSES:  # log-losses may be negative
        options[f"{gradient}.loss_floor"] = -100.0
    stage = network_stage(3)
    torch.manual_seed(0)
    method = make_method(f"{transform}+{gradient}", **options)
    stage.setup(method)
    for outcome in stage.run(method, 2):
        assert outcome.finite
        if outcome.weights is not None:
            expected = outcome.weights @ outcome.raw
            assert outcome.written.tolist() == pytest.approx(
                expected.tolist(), abs=1e-9 * float(outcome.raw.norm())
            )


@pytest.mark.parametrize("gradient", ["db_mtl", "gradnorm", "cdtt"])
def test_negative_log_losses_are_refused_by_methods_of_positive_losses(gradient):
    stage = network_stage(3)
    method = make_method(f"log+{gradient}")
    stage.setup(method)
    with pytest.raises(TaskError, match="loss_floor"):
        stage.run(method, 2)
