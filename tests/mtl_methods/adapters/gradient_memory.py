"""ExcessMTL and DB-MTL: methods that remember gradients."""

from __future__ import annotations

from adapters.helpers import assert_close, gradient_step
from adapters.registry import Case, adapter
from mtl_methods import make_method


def _steps(case: Case):
    inputs = case["inputs"]
    return zip(inputs["G_steps"], inputs["losses_steps"], case["expected"]["steps"], strict=True)


@adapter("ExcessMTL", "LibMTL")
def excess_mtl(case: Case) -> None:
    method = make_method(
        "excess_mtl",
        step_size=case["params"]["robust_step_size"],
        weight_sum="tasks",
        epsilon=1e-7,
    )
    for gradients, losses, step in _steps(case):
        outcome = gradient_step(method, gradients, losses)
        assert_close(outcome.weights, step["loss_weight"], case, "weights")


@adapter("DB-MTL", "LibMTL")
def db_mtl(case: Case) -> None:
    params = case["params"]
    method = make_method(
        "db_mtl",
        forgetting_rate=params["beta"],
        decay=params["beta_sigma"],
        loss_floor=-1e-8,
        epsilon=1e-8,
    )
    for gradients, losses, step in _steps(case):
        outcome = gradient_step(method, gradients, losses)
        assert_close(outcome.written, step["param_grad"], case, "gradient")
        assert_close(method.state["average"], step["grad_buffer"], case, "averaged gradients")
