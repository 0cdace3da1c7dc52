"""Options that change what a method does, held to the checks where they could break something."""

from __future__ import annotations

import functools

import pytest

from mtl_methods import make_method
from mtl_methods.testing import CHECKS, NotApplicable

CHOSEN = (
    "weights",
    "order_of_losses",
    "missing_task",
    "save_and_load",
    "determinism",
    "needs_are_asked_for",
    "degenerate_gradients",
    "grad_scale",
    "scale_law",
)
OPTIONS = [
    ("si", {"reduction": "mean"}),
    ("rlw", {"distribution": "bernoulli", "weight_sum": "tasks"}),
    ("rlw", {"distribution": "constrained_bernoulli"}),
    ("dwa", {"level": "iterations", "window": 1, "first_window": "ones"}),
    ("dwa", {"level": "iterations", "window": 2, "weight_sum": "one"}),
    ("stch", {"form": "log_nadir", "warmup_epochs": 1}),
    ("go4align", {"num_groups": 1, "step_size": 0.0}),
    ("go4align", {"num_groups": 9, "step_size": 0.1}),
    ("excess_mtl", {"weight_sum": "tasks", "relative": False, "epsilon": 1e-7}),
    ("db_mtl", {"forgetting_rate": 0.0, "head_weighting": "same"}),
    ("db_mtl", {"forgetting_rate": 0.5, "decay": 0.5}),
    ("auto_lambda", {"hypergradient": "finite_difference", "negative_weights": "clip"}),
    ("auto_lambda", {"parametrisation": "softmax", "primary_tasks": "task_0"}),
    ("moml", {"inner_steps": 2, "normalisation": "l2"}),
    ("moml", {"hypergradient": "finite_difference"}),
    ("forum", {"normalisation": "l2", "average": "epochs", "inner_steps": 1}),
    ("ldc_mtl", {"loop": "double", "inner_steps": 2}),
    ("ldc_mtl", {"loop": "double", "inner_steps": 2, "router": "features", "tau": "one"}),
]


@pytest.mark.parametrize("check", CHOSEN)
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda part: str(part)[:60])
def test_contract(name, options, check):
    try:
        CHECKS[check](functools.partial(make_method, name, **options))
    except NotApplicable as reason:
        pytest.skip(str(reason))
