"""Auto-Lambda."""

from __future__ import annotations

import torch

from adapters.helpers import assert_close
from adapters.registry import Case, adapter
from mtl_methods import make_method


def _tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@adapter("Auto-Lambda", "auto-lambda")
def auto_lambda(case: Case) -> None:
    """The model of the case: mean squared errors of ``tanh(x W') h_i``."""
    inputs, params = case["inputs"], case["params"]
    parameters = {"W": _tensor(inputs["W"]).requires_grad_()} | {
        f"h{k}": _tensor(row).requires_grad_() for k, row in enumerate(inputs["H"])
    }

    def closure(named, split: str) -> dict[str, torch.Tensor]:
        prefix = "train" if split == "train" else "val"
        features = torch.tanh(_tensor(inputs[f"{prefix}_x"]) @ named["W"].T)
        return {
            f"task_{k}": ((features @ named[f"h{k}"] - _tensor(targets)) ** 2).mean()
            for k, targets in enumerate(inputs[f"{prefix}_y"])
        }

    for way, expected, tolerance in (
        ("finite_difference", "meta_weights_grad", None),
        ("exact", "exact_hypergradient", 1e-6),
    ):
        method = make_method("auto_lambda", hypergradient=way, initial_weight=params["weight_init"])
        method.backward(
            closure(parameters, "train"),
            [parameters["W"]],
            closure=closure,
            named_parameters=parameters,
            lr=params["inner_lr"],
        )
        (own,) = method.parameters()
        assert_close(own.grad, case["expected"][expected], case, way, rtol=tolerance)
