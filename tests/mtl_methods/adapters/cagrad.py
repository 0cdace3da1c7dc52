"""CAGrad. The dual objective decides: a peer whose objective is larger missed the minimum."""

from __future__ import annotations

import numpy as np

from adapters.helpers import array, gradient_step, gram_of, relative_difference
from adapters.registry import Case, adapter, exclude
from mtl_methods import make_method

_SAME_OBJECTIVE = 1e-9

exclude(
    "CAGrad",
    reason="a zero gradient: the worst rate is 0 whatever the update, the peers return what "
    "their 1e-8 in denominators makes of it; here the task is left out and counted",
    when=lambda case: case["inputs"]["regime"] == "zero",
)


def _objective(gram: np.ndarray, w: np.ndarray, c: float) -> float:
    mean = np.full(len(gram), 1.0 / len(gram))
    length = np.sqrt(max(w @ gram @ w, 0.0))
    return float(w @ gram @ mean + c * np.sqrt(max(mean @ gram @ mean, 0.0)) * length)


def _ours(case: Case, c: float, **options):
    method = make_method("cagrad", c=c, **options)
    outcome = gradient_step(method, case["inputs"]["G"])
    return method, outcome


def _simplex_weights(outcome, count: int) -> np.ndarray:
    """w of the dual, from effective weights 1/K + c ||g_0|| / ||g_w|| w."""
    correction = outcome.weights.numpy() - 1.0 / count
    return correction / correction.sum()


def _gap(case: Case, c: float) -> float | None:
    """Asserts that our objective is no larger; how much smaller it is, relative to its terms.

    ``None`` where no update improves the worst task, or the peer has no valid answer.
    """
    gram, expected = gram_of(case["inputs"]["G"]), case["expected"]
    method, outcome = _ours(case, c)
    if "pareto_stationary" in method.counters:
        assert expected["objective"] is None or expected["objective"] > -1e-6 * np.trace(gram)
        return None
    w = _simplex_weights(outcome, case["K"])
    assert w.min() > -1e-9
    assert method.last_step.residual < 1e-8
    theirs = array(expected["simplex_weights"])
    if expected["objective"] is None or abs(theirs.sum() - 1.0) > 1e-6:
        return None  # the peer gave up, or its w is not on the simplex
    ours = _objective(gram, w, c)
    bound = expected["objective"]
    assert ours <= bound + 1e-6 * (1.0 + abs(bound)), case["id"]
    size = max(_objective(gram, theirs, c), abs(ours))
    return (bound - ours) / size


@adapter("CAGrad", "nash-mtl")
def cagrad(case: Case) -> None:
    c, expected = case["params"]["c"], case["expected"]
    gap = _gap(case, c)
    if gap is None or gap > _SAME_OBJECTIVE or not expected["slsqp_success"]:
        return
    names = {"none": 0, "1+c^2": 1, "1+c": 2}
    for rescale, number in names.items():
        _, outcome = _ours(case, c, rescale=rescale)
        theirs = expected[f"aggregated_rescale{number}"]
        assert relative_difference(outcome.written, theirs) < _sensitivity(gap), case["id"]
    _, outcome = _ours(case, c, rescale="1+c^2", gradient_scale="sum")
    theirs = expected["param_grad_after_backward"]
    assert relative_difference(outcome.written, theirs) < _sensitivity(gap), case["id"]


def _sensitivity(gap: float) -> float:
    """What a gap of the objective can do to its minimiser: the square root of it."""
    return max(2e-4, 10.0 * np.sqrt(max(gap, 0.0)))


@adapter("CAGrad", "LibMTL")
def cagrad_mean(case: Case) -> None:
    c, expected = case["params"]["calpha"], case["expected"]
    gap = _gap(case, c)
    if gap is None or gap > _SAME_OBJECTIVE:
        return
    rescale = {0: "none", 1: "1+c^2", 2: "1+c"}[case["params"]["rescale"]]
    _, outcome = _ours(case, c, rescale=rescale)
    assert relative_difference(outcome.written, expected["param_grad"]) < _sensitivity(gap)


@adapter("CAGrad", "torchjd")
def cagrad_plain(case: Case) -> None:
    c, expected = case["params"]["c"], case["expected"]
    gap = _gap(case, c)
    if gap is None:
        return
    _, outcome = _ours(case, c)
    assert relative_difference(outcome.written, expected["aggregated"]) < _sensitivity(gap)
