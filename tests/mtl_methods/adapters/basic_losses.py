"""LS, UW, FAMO and LDC-MTL."""

from __future__ import annotations

import torch

from adapters.helpers import array, assert_close, loss_step
from adapters.registry import Case, adapter
from mtl_methods import make_method


@adapter("LS", "nash-mtl")
def ls(case: Case) -> None:
    method = make_method("ls")
    for losses, step in zip(case["inputs"]["losses_steps"], case["expected"]["steps"], strict=True):
        assert_close(loss_step(method, losses).written, step["dtotal_dloss"], case, "gradient")


@adapter("UW", "nash-mtl", "LibMTL")
def uw(case: Case) -> None:
    assert case["params"]["optimizer"] == "SGD"
    method = make_method("uw", initial_log_variance=case["params"]["init"])
    method.setup([f"task_{k}" for k in range(case["K"])], dtype=torch.float64)
    optimizer = torch.optim.SGD(method.parameters(), lr=case["params"]["lr"])
    for losses, step in zip(case["inputs"]["losses_steps"], case["expected"]["steps"], strict=True):
        name = "logsigma" if "logsigma_before" in step else "loss_scale"
        (own,) = method.parameters()
        assert_close(own.detach(), step[f"{name}_before"], case, "log variance")
        outcome = loss_step(method, losses)
        assert_close(outcome.written, step["dtotal_dloss"], case, "gradient")
        assert_close(outcome.own[0], step[f"dtotal_d{name}"], case, "gradient of log variance")
        optimizer.step()


@adapter("FAMO", "FAMO-repo-WeightMethod", "FAMO-repo-famo.py", "LibMTL")
def famo(case: Case) -> None:
    params = case["params"]
    floor = params.get("min_losses", 0.0) - 1e-8  # the code adds 1e-8 to every loss
    method = make_method("famo", gamma=params["gamma"], w_lr=params["w_lr"], loss_floor=floor)
    inputs = case["inputs"]
    for losses, after, step in zip(
        inputs["losses_steps"],
        inputs["losses_after_step"],
        case["expected"]["steps"],
        strict=True,
    ):
        outcome = loss_step(method, losses)
        assert_close(outcome.written, step["dtotal_dloss"], case, "gradient")
        method.after_step(
            {f"task_{k}": torch.tensor(v, dtype=torch.float64) for k, v in enumerate(after)}
        )
        assert_close(method.state["logits"], step["logits_after"], case, "logits")


_LDC_MTL = {
    "celeba-trainer": {"router": "sigmoid", "tau": "sigma", "divide_by_sum": "detached"},
    "cityscapes-trainer": {"router": "softmax", "tau": "one", "clamp": 0.2},
    "nyuv2-trainer": {
        "router": "softmax",
        "tau": "sigma",
        "clamp": 0.2,
        "divide_by_sum": "yes",
        "normalisation": "rescaled_min",
    },
    "qm9-trainer": {
        "router": "sigmoid_relu",
        "tau": "sigma",
        "divide_by_sum": "detached",
        "normalisation": "log",
    },
}


@adapter("LDC-MTL", *_LDC_MTL)
def ldc_mtl(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    method = make_method(
        "ldc_mtl",
        penalty=1.0,
        discrepancy=case["params"]["lamb"],
        **_LDC_MTL[case["variant"]],
    )
    method.setup([f"task_{k}" for k in range(case["K"])], dtype=torch.float64)
    scores = inputs["W"] if "W" in inputs else inputs["router_logits"]
    (own,) = method.parameters()
    with torch.no_grad():
        own.copy_(torch.tensor(scores, dtype=torch.float64))
    if "initial_losses" in inputs:
        loss_step(method, inputs["initial_losses"])
    outcome = loss_step(method, inputs["losses"])
    assert_close(outcome.written, expected["dtotal_dloss"], case, "gradient")
    name = "dtotal_dW" if "W" in inputs else "dtotal_dlogits"
    assert_close(outcome.own[0], array(expected[name]), case, "gradient of the router")
