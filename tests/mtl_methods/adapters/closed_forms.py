"""IMTL-G, Aligned-MTL, ConFIG, UPGrad and DualProj."""

from __future__ import annotations

import numpy as np

from adapters.helpers import array, assert_close, gradient_step
from adapters.registry import Case, adapter, exclude
from mtl_methods import make_method

exclude(
    "IMTL-G",
    "smto",
    reason="for three and more tasks the peer lacks a transpose, so that projections are not "
    "equal; everywhere it adds 1e-6 to a diagonal",
)
for _peer in ("nash-mtl", "LibMTL"):
    exclude(
        "IMTL-G",
        _peer,
        reason="a zero gradient or linearly dependent ones: the peer inverts a singular matrix "
        "(NaN, or rounding errors over 1); ours follows the pseudo-inverse (TorchJD's case)",
        when=lambda case: case["inputs"]["regime"] in ("zero", "rankdef"),
    )


@adapter("IMTL-G", "nash-mtl", "LibMTL", "torchjd")
def imtl_g(case: Case) -> None:
    gradients, expected = array(case["inputs"]["G"]), case["expected"]
    method = make_method("imtl_g")
    outcome = gradient_step(method, gradients)
    assert_close(outcome.written, expected["param_grad"], case, "update")
    np.testing.assert_allclose(outcome.weights.sum(), 1.0)
    if not case["tolerance"]["compare"].startswith("ill-conditioned"):
        assert_close(outcome.weights, expected["weights"], case, "weights")
        norms = np.linalg.norm(gradients, axis=1)
        projections = gradients @ outcome.written.numpy() / norms
        assert np.ptp(projections) <= 1e-9 * np.abs(projections).max() + 1e-12
    learned = gradient_step(make_method("imtl"), gradients)  # its scales start at 1
    assert_close(learned.written, outcome.written, case, "first update of imtl")


@adapter("Aligned-MTL", "LibMTL", "torchjd")
def aligned_mtl(case: Case) -> None:
    method = make_method(
        "aligned_mtl",
        scale_mode=case["params"].get("scale_mode", "min"),
        preference_sum="tasks" if case["variant"] == "LibMTL" else "one",
    )
    outcome = gradient_step(method, case["inputs"]["G"])
    assert_close(outcome.written, case["expected"]["param_grad"], case, "update")
    if case["tolerance"]["compare"] == "direct":
        assert_close(outcome.weights, case["expected"]["weights"], case, "weights")


@adapter("ConFIG", "torchjd")
def config(case: Case) -> None:
    method = make_method("config", preference=case["params"]["pref_vector"])
    outcome = gradient_step(method, case["inputs"]["G"])
    assert_close(outcome.written, case["expected"]["param_grad"], case, "update")


@adapter("UPGrad", "torchjd", "LibMTL")
@adapter("DualProj", "torchjd")
def dual_cone(case: Case) -> None:
    params = case["params"]
    method = make_method(
        case["method"].lower(),
        preference=params.get("pref_vector"),
        regularisation=params["reg_eps"],
        least_trace=params["norm_eps"],
    )
    outcome = gradient_step(method, case["inputs"]["G"])
    assert_close(outcome.written, case["expected"]["param_grad"], case, "update")
    gradients = array(case["inputs"]["G"])
    exact = make_method(case["method"].lower(), preference=params.get("pref_vector"))
    harmless = gradients @ gradient_step(exact, gradients).written.numpy()
    assert harmless.min() >= -1e-8 * np.abs(harmless).max()
