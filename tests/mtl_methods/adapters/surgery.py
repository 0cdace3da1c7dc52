"""PCGrad, GradVac and GradDrop, with the random draws of the peers put in."""

from __future__ import annotations

import numpy as np
import torch

from adapters.helpers import array, assert_close, gradient_step
from adapters.registry import Case, adapter
from mtl_methods import make_method


def _with_orders(method, orders):
    """Has a method visit tasks in given orders, each without the task itself unless it says so."""
    with_self = getattr(method, "self_visit", False)
    rows = [[j for j in row if with_self or j != i] for i, row in enumerate(orders)]
    method._orders = lambda inputs: np.array(rows, dtype=np.int64)
    return method


@adapter("PCGrad", "nash-mtl", "LibMTL", "torchjd", "smto")
def pcgrad(case: Case) -> None:
    visits_itself = case["variant"] in ("nash-mtl", "LibMTL")
    method = make_method(
        "pcgrad",
        reduction=case["params"].get("reduction", "sum"),
        self_visit=visits_itself,
        epsilon=1e-8 if case["variant"] == "LibMTL" else 0.0,
    )
    outcome = gradient_step(_with_orders(method, case["inputs"]["orders"]), case["inputs"]["G"])
    assert_close(outcome.written, case["expected"]["param_grad"], case, "update")
    if case["variant"] == "torchjd":
        assert_close(outcome.weights, case["expected"]["weights"], case, "weights")


@adapter("GradVac", "LibMTL")
def gradvac(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    assert case["params"]["GradVac_group_type"] == 0
    method = make_method("gradvac", beta=case["params"]["GradVac_beta"], epsilon=1e-8)
    steps = zip(inputs["G_steps"], inputs["orders_steps"], expected["steps"], strict=True)
    for gradients, orders, step in steps:
        outcome = gradient_step(_with_orders(method, orders), gradients)
        assert_close(outcome.written, step["param_grad"], case, "update")
        assert_close(method.state["goals"], step["rho_T"], case, "running means")


def _with_draw(method, draw):
    method._uniform = lambda count, like: torch.tensor(draw, dtype=torch.float64).reshape(-1)
    return method


@adapter("GradDrop", "fairgrad", "torchjd")
def graddrop(case: Case) -> None:
    method = make_method("graddrop", task_leak=case["params"].get("leak"))
    outcome = gradient_step(_with_draw(method, case["inputs"]["U"]), case["inputs"]["G"])
    assert_close(outcome.written, case["expected"]["param_grad"], case, "update")
    assert outcome.weights is None


@adapter("GradDrop", "LibMTL-representation")
def graddrop_on_features(case: Case) -> None:
    inputs = case["inputs"]
    method = make_method("graddrop", leak=case["params"]["leak"], gradients_on="features")
    _with_draw(method, inputs["U"])
    parameter = torch.tensor(array(inputs["rep"]), requires_grad=True)
    features = parameter * 1.0
    gradients = torch.tensor(array(inputs["rep_grads"]))
    losses = {f"task_{k}": (features * g).sum() for k, g in enumerate(gradients)}
    method.backward(losses, [parameter], features=features)
    assert_close(parameter.grad, case["expected"]["rep_grad_total"], case, "update")
