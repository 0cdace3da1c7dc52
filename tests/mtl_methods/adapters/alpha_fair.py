"""Nash-MTL and FairGrad. Peers that did not converge are not matched, only beaten."""

from __future__ import annotations

import numpy as np

from adapters.helpers import (
    array,
    assert_close,
    gradient_step,
    gram_of,
    relative_difference,
    relative_residual,
)
from adapters.registry import Case, adapter
from mtl_methods import make_method

_EXACT = 1e-8  # our residual wherever a solution exists


def _assert_no_solution_is_reported(case, gradients, method):
    """Zero in the hull: no shared update. A zero gradient: that task alone is left out."""
    zero = ~array(gradients).any(axis=1)
    if zero.any():
        assert method.counters == {"zero_gradient": 1}, case["id"]
        weights = method.weights.numpy()
        assert not weights[zero].any()
        rest = gram_of(array(gradients)[~zero])
        p = method.exponent()
        assert relative_residual(rest, weights[~zero], p) < _EXACT
    else:
        assert method.counters == {"pareto_stationary": 1}, case["id"]
        assert not method.weights.any()


@adapter("FairGrad", "fairgrad")
def fairgrad(case: Case) -> None:
    gradients, expected = case["inputs"]["G"], case["expected"]
    alpha = case["params"]["alpha"]
    method = make_method("fairgrad", alpha=alpha)
    outcome = gradient_step(method, gradients)
    if "NO SOLUTION" in case["note"]:
        _assert_no_solution_is_reported(case, gradients, method)
        return
    residual = relative_residual(gram_of(gradients), outcome.weights, 1.0 / alpha)
    assert residual < max(_EXACT, min(1e-3, 1e-15 * _cancellation(gradients, outcome.weights)))
    assert residual <= max(_EXACT, expected["max_rel_residual"])
    if expected["oracle_weights"] is not None:
        assert_close(outcome.weights, expected["oracle_weights"], case, "weights")
    if expected["max_rel_residual"] < 1e-6:  # the peer converged
        assert_close(outcome.weights, expected["weights"], case, "weights of the peer", rtol=1e-5)
        scaled = case["K"] * outcome.written  # the peer multiplies by K
        difference = relative_difference(scaled, expected["param_grad_after_backward_noclip"])
        assert difference < 1e-5


def _cancellation(gradients, weights) -> float:
    """By how much the sums (G w)_i cancel: float64 holds the residual to 1e-16 times this."""
    gram, w = gram_of(gradients), array(weights)
    return float(np.max((np.abs(gram) @ w) / np.abs(gram @ w)))


@adapter("FairGrad", "LibMTL")
def fairgrad_weighting_heads(case: Case) -> None:
    gradients, expected = case["inputs"]["G"], case["expected"]
    alpha = case["params"]["FairGrad_alpha"]
    method = make_method("fairgrad", alpha=alpha, head_weighting="same")
    outcome = gradient_step(method, gradients)
    gram = gram_of(gradients)
    if method.counters:
        _assert_no_solution_is_reported(case, gradients, method)
        return
    ours = relative_residual(gram, outcome.weights, 1.0 / alpha)
    peers = relative_residual(gram, expected["weights"], 1.0 / alpha)
    assert ours < _EXACT
    assert ours <= peers or peers < _EXACT
    if peers < 1e-5:
        assert_close(outcome.weights, expected["weights"], case, "weights")
        assert relative_difference(outcome.written, expected["param_grad"]) < 1e-4
    for task, weight in zip(outcome.tasks, outcome.weights.tolist(), strict=True):
        assert outcome.heads[task][1].item() == weight


@adapter("Nash-MTL", "nash-mtl")
def nash_mtl(case: Case) -> None:
    method = make_method("nash_mtl", update_weights_every=case["params"]["update_weights_every"])
    for gradients, step in zip(case["inputs"]["G_steps"], case["expected"]["steps"], strict=True):
        outcome = gradient_step(method, gradients)
        if step["oracle_w"] is None:
            _assert_no_solution_is_reported(case, gradients, method)
            method.counters.clear()
            continue
        assert relative_residual(gram_of(gradients), outcome.weights, 1.0) < _EXACT
        assert_close(outcome.weights, step["oracle_w"], case, "weights")
        if step["peer_vs_oracle_max_rel_diff_unnormalised"] < 1e-5:
            assert_close(outcome.weights, step["alpha"], case, "weights of the peer")
            assert relative_difference(outcome.written, step["param_grad_unclipped"]) < 1e-5


@adapter("Nash-MTL", "LibMTL", "torchjd")
def nash_mtl_direction(case: Case) -> None:
    """Scale-free: these peers clip the shared gradient, or the weights, to norm 1."""
    method = make_method("nash_mtl")
    for gradients, step in zip(case["inputs"]["G_steps"], case["expected"]["steps"], strict=True):
        outcome = gradient_step(method, gradients)
        if method.counters:
            _assert_no_solution_is_reported(case, gradients, method)
            method.counters.clear()
            continue
        gram = gram_of(gradients)
        assert relative_residual(gram, outcome.weights, 1.0) < _EXACT
        theirs = array(step["alpha"] if "alpha" in step else step["weights"])
        shares = theirs * (gram @ theirs)  # all equal at a solution of any scale
        if np.ptp(shares) > 1e-3 * np.abs(shares).max():
            continue  # the peer did not converge
        ours = outcome.weights.numpy()
        np.testing.assert_allclose(
            ours / np.linalg.norm(ours),
            theirs / np.linalg.norm(theirs),
            rtol=case["tolerance"]["rtol"],
            err_msg=case["id"],
        )
        clipped = array(step.get("param_grad_clipped", step.get("aggregated")))
        written = outcome.written.numpy()
        written = written * min(1.0, 1.0 / np.linalg.norm(written))
        assert relative_difference(written, clipped) < 1e-2
