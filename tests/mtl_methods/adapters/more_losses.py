"""SI, RLW, DWA, IMTL-L, GLS, STCH and GO4Align."""

from __future__ import annotations

from unittest import mock

import numpy as np
import torch

from adapters.helpers import array, assert_close, gradient_step, loss_step
from adapters.registry import Case, adapter
from mtl_methods import make_method
from mtl_methods.loss_weighting import rlw as rlw_module


def _tasks(case: Case) -> list[str]:
    return [f"task_{k}" for k in range(case["K"])]


def _steps(case: Case):
    return zip(case["inputs"]["losses_steps"], case["expected"]["steps"], strict=True)


@adapter("SI", "nash-mtl", "smto")
def si(case: Case) -> None:
    method = make_method("si", reduction="mean" if case["variant"] == "smto" else "sum")
    for losses, step in _steps(case):
        assert_close(loss_step(method, losses).written, step["dtotal_dloss"], case, "gradient")


@adapter("RLW", "nash-mtl", "smto", "smto-dirichlet")
def rlw(case: Case) -> None:
    """The recorded draws take the place of ours."""
    inputs = case["inputs"]
    method = make_method(
        "rlw",
        distribution=case["params"]["distribution"],
        weight_sum="one" if case["variant"] == "nash-mtl" else "tasks",
    )
    draws = inputs["logits_steps"] if "logits_steps" in inputs else inputs["gamma_samples_steps"]
    for draw, (losses, step) in zip(draws, _steps(case), strict=True):
        recorded = torch.tensor(draw, dtype=torch.float64)
        with mock.patch.object(rlw_module, "sample_draw", return_value=recorded):
            outcome = loss_step(method, losses)
        assert_close(outcome.written, step["weights"], case, "gradient")
        assert_close(outcome.weights, step["weights"], case, "weights")


@adapter("DWA", "nash-mtl")
def dwa_of_iterations(case: Case) -> None:
    params = case["params"]
    method = make_method(
        "dwa",
        level="iterations",
        window=params["iteration_window"],
        temperature=params["temp"],
        first_window="ones",
        weight_sum="one",
    )
    for losses, step in _steps(case):
        outcome = loss_step(method, losses)
        assert_close(case["K"] * outcome.written, step["weights"], case, "gradient")
        total = float(outcome.written @ torch.tensor(losses, dtype=torch.float64))
        assert_close(total, step["total"], case, "weighted mean of losses")


@adapter("DWA", "LibMTL")
def dwa_of_epochs(case: Case) -> None:
    method = make_method("dwa", temperature=case["params"]["T"])
    means, epochs = case["inputs"]["epoch_mean_losses"], case["expected"]["epochs"]
    for number, (losses, epoch) in enumerate(zip(means, epochs, strict=True)):
        assert_close(loss_step(method, losses).written, epoch["weights"], case, "gradient")
        method.end_epoch(epoch=number, train_losses=dict(zip(_tasks(case), losses, strict=True)))


@adapter("IMTL-L", "LibMTL")
def imtl_l(case: Case) -> None:
    """The peer couples it with IMTL-G: our composition must take the same steps."""
    gradients, params = case["inputs"]["G"], case["params"]
    method = make_method("imtl_l+imtl_g", **{"imtl_l.initial_scale": params["init"]})
    method.setup(_tasks(case), dtype=torch.float64)
    (own,) = method.parameters()
    optimizer = torch.optim.SGD([own], lr=params["lr"])
    for losses, step in _steps(case):
        assert_close(own.detach(), step["s_before"], case, "log scale")
        outcome = gradient_step(method, gradients, losses)
        assert_close(outcome.own[0], step["ds"], case, "gradient of log scale")
        assert_close(outcome.scales, np.exp(step["s_before"]), case, "loss weights")
        assert_close(outcome.written, step["param_grad"], case, "gradient")
        optimizer.step()


@adapter("GLS", "LibMTL")
def gls(case: Case) -> None:
    method = make_method("gls")
    for losses, step in _steps(case):
        assert_close(loss_step(method, losses).written, step["dtotal_dloss"], case, "gradient")


@adapter("STCH", "LibMTL")
def stch(case: Case) -> None:
    method = make_method(
        "stch",
        form="log_nadir",
        mu=case["params"]["mu"],
        warmup_epochs=case["params"]["warmup_epoch"] + 1,
    )
    seen: list[list[float]] = []
    now = case["inputs"]["epochs"][0]
    for epoch, (losses, step) in zip(case["inputs"]["epochs"], _steps(case), strict=True):
        if epoch != now:
            means = dict(zip(_tasks(case), array(seen).mean(0).tolist(), strict=True))
            method.end_epoch(epoch=now, train_losses=means)
            seen, now = [], epoch
        seen.append(losses)
        assert_close(loss_step(method, losses).written, step["dtotal_dloss"], case, "gradient")
        if step["nadir"] is not None:
            nadir = [method.state["nadir"][task] for task in _tasks(case)]
            assert_close(nadir, step["nadir"], case, "nadir")


def _spread(points: np.ndarray, weights: np.ndarray) -> float:
    """Sum of squared distances to the centres that the points were given."""
    return float(((points - weights) ** 2).sum())


@adapter(
    "GO4Align",
    "go4align",
    "group_sklearn_spectral_clustering_cluster_qr",
    "group_sklearn_spectral_clustering_discretize",
    "group_sklearn_spectral_clustering_kmeans",
)
def go4align(case: Case) -> None:
    """Indicators and ungrouped weights agree; our groups are at least as tight as the peer's.

    Where both have the same groups the weights agree as well; k-means from random centres and
    spectral clustering need not find the tightest groups.
    """
    params = case["params"]
    common = {"step_size": params["robust_step_size"]}
    method = make_method("go4align", num_groups=params["num_groups"], **common)
    alone = make_method("go4align", num_groups=case["K"], **common)
    for losses, step in _steps(case):
        grouped, single = loss_step(method, losses), loss_step(alone, losses)
        shares = torch.tensor(method.state["log_indicators"], dtype=torch.float64).exp()
        assert_close(shares, step["adv_probs"], case, "indicators")
        assert_close(single.written, step["raw_weights"], case, "weights before grouping")
        raw, theirs, ours = (
            array(step["raw_weights"]),
            array(step["group_weights"]),
            array(grouped.written),
        )
        assert len(np.unique(ours)) <= params["num_groups"]
        tightest, peer = _spread(raw, ours), _spread(raw, theirs)
        assert tightest <= peer * (1.0 + 1e-6) + 1e-9, case["id"]
        if peer <= tightest * (1.0 + 1e-6) + 1e-12:
            assert_close(ours, theirs, case, "weights", rtol=1e-5)
