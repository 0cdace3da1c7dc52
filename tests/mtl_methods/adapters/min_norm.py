"""MGDA, EDM and CDTT. Peers stop early, so a norm is held to be no longer than theirs."""

from __future__ import annotations

import numpy as np

from adapters.helpers import array, assert_close, gradient_step, gram_of
from adapters.registry import Case, adapter
from mtl_methods import make_method


def _assert_shortest(norm: float, bound: float, case: Case) -> None:
    expected = case["expected"]
    assert norm <= bound * (1.0 + 1e-6) + 1e-9, case["id"]
    oracle = expected.get("oracle_min_norm")
    if oracle is not None:
        assert abs(norm - oracle) <= 1e-6 * bound + 1e-9, case["id"]


@adapter("MGDA", "nash-mtl", "torchjd", "smto")
def mgda(case: Case) -> None:
    expected = case["expected"]
    outcome = gradient_step(make_method("mgda"), case["inputs"]["G"])
    norm = float(outcome.written.norm())
    bound = expected.get("norm_of_combination")
    if bound is None:
        bound = float(np.linalg.norm(array(expected["param_grad"])))
    _assert_shortest(norm, bound, case)
    _assert_shortest(norm, expected.get("tight_norm", bound), case)
    if expected.get("oracle_weights") is not None and case["K"] <= 3:
        assert_close(outcome.weights, expected["oracle_weights"], case, "weights", rtol=1e-4)
    if "loss_weights" in expected:
        scaled = gradient_step(make_method("mgda", weight_sum="tasks"), case["inputs"]["G"])
        np.testing.assert_allclose(scaled.weights, case["K"] * outcome.weights.numpy())


@adapter("MGDA", "LibMTL")
def mgda_normalised(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    method = make_method("mgda", normalisation=case["params"]["mgda_gn"], aggregate="normalised")
    outcome = gradient_step(method, inputs["G"], inputs["losses"])
    norm = float(outcome.written.norm())
    _assert_shortest(norm, expected["norm_of_combination_normalised"], case)
    raw = make_method("mgda", normalisation=case["params"]["mgda_gn"])
    weights = gradient_step(raw, inputs["G"], inputs["losses"]).weights.numpy()
    assert weights.min() >= 0.0
    np.testing.assert_allclose(weights.sum(), 1.0)


@adapter("EDM", "smto")
def edm(case: Case) -> None:
    gradients, expected = array(case["inputs"]["G"]), case["expected"]
    outcome = gradient_step(make_method("edm"), gradients)
    if expected.get("oracle_param_grad") is None:  # a zero gradient
        assert_close(outcome.written, expected["param_grad"], case, "update")
        return
    norms = np.linalg.norm(gradients, axis=1)
    shares = outcome.weights.numpy() * norms
    shares /= shares.sum()
    norm = float(np.sqrt(max(shares @ gram_of(gradients / norms[:, None]) @ shares, 0.0)))
    assert norm <= expected["peer_norm_unit"] * (1.0 + 1e-9) + 1e-12
    assert abs(norm - expected["oracle_min_norm_unit"]) <= 1e-7
    assert_close(outcome.written, expected["oracle_param_grad"], case, "update", rtol=1e-5)


@adapter("CDTT", "smto")
def cdtt(case: Case) -> None:
    params, inputs = case["params"], case["inputs"]
    method = make_method(
        "cdtt", alpha=params["alpha"], window=params["MAX_BATCH_ITER"], angle_correction=True
    )
    steps = zip(inputs["G_steps"], inputs["losses_steps"], case["expected"]["steps"], strict=True)
    for gradients, losses, step in steps:
        outcome = gradient_step(method, gradients, losses)
        assert_close(outcome.written, step["param_grad"], case, "update")
