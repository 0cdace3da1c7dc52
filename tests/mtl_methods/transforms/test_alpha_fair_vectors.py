"""The alpha-fair loss transform against equation 5 of the FairGrad paper, evaluated elsewhere."""

from __future__ import annotations

import pytest
import torch
from reference import load_cases

from mtl_methods import compose
from mtl_methods.loss_weighting import LS
from mtl_methods.transforms import AlphaFair

CASES = load_cases("alpha-fair-loss")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_vector(case):
    transform = AlphaFair(alpha=case["params"]["alpha"])
    losses = torch.tensor(case["inputs"]["losses"], dtype=torch.float64)
    names = [f"task_{k}" for k in range(case["K"])]
    tolerance = {"rel": case["tolerance"]["rtol"], "abs": case["tolerance"]["atol"]}
    expected = case["expected"]
    values = transform(names, losses).tolist()
    assert values == pytest.approx(expected["transformed"], **tolerance)
    theta = torch.zeros(case["K"], dtype=torch.float64, requires_grad=True)
    method = compose(transform, LS())
    method.backward(dict(zip(names, losses + theta, strict=True)), [theta])
    assert theta.grad.tolist() == pytest.approx(expected["dtotal_dloss"], **tolerance)
    assert method.weights.tolist() == pytest.approx(expected["dtotal_dloss"], **tolerance)


def test_all_cases_are_there():
    assert len(CASES) == 35
