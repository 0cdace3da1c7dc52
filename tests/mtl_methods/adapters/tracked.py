"""MoCo, GradNorm, SDMGrad, MoDo and RotoGrad: methods with a memory, several steps each."""

from __future__ import annotations

import torch

from adapters.helpers import array, assert_close, gradient_step
from adapters.registry import Case, adapter
from mtl_methods import make_method


def _tasks(case: Case) -> list[str]:
    return [f"task_{k}" for k in range(case["K"])]


@adapter("MoCo", "LibMTL")
def moco(case: Case) -> None:
    params, inputs = case["params"], case["inputs"]
    method = make_method(
        "moco",
        beta=params["beta"],
        beta_decay=params["beta_sigma"],
        gamma=params["gamma"],
        gamma_decay=params["gamma_sigma"],
        rho=params["rho"],
        gradient="loss_scaled",
        simplex="softmax",
    )
    steps = zip(inputs["G_steps"], inputs["losses_steps"], case["expected"]["steps"], strict=True)
    for gradients, losses, step in steps:
        outcome = gradient_step(method, gradients, losses)
        assert_close(outcome.written, step["param_grad"], case, "update")
        assert_close(method.state["weights"], step["lambd"], case, "weights")
        assert_close(method.state["tracked"], step["y"], case, "tracked gradients")


@adapter("GradNorm", "LibMTL")
def gradnorm(case: Case) -> None:
    inputs, tasks = case["inputs"], _tasks(case)
    method = make_method(
        "gradnorm",
        alpha=case["params"]["alpha"],
        parametrisation="softmax",
        initial_loss="first_epoch",
    )
    method.setup(tasks, dtype=torch.float64)
    (initial,) = (inputs[key] for key in inputs if key.startswith("initial"))
    method.end_epoch(epoch=0, train_losses=dict(zip(tasks, initial, strict=True)))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05)
    steps = zip(inputs["G_steps"], inputs["losses_steps"], case["expected"]["steps"], strict=True)
    for gradients, losses, step in steps:
        (own,) = method.parameters()
        assert_close(own, step["loss_scale_before_step"], case, "own parameters")
        outcome = gradient_step(method, gradients, losses)
        assert_close(outcome.weights, step["weights"], case, "weights")
        assert_close(outcome.written, step["param_grad"], case, "update")
        assert_close(outcome.own[0], step["loss_scale_grad"], case, "gradient of own parameters")
        optimizer.step()


def _several_batches(method, batches):
    """One step on the gradients of the first batch, with further ones; the shared gradient."""
    matrices = [torch.tensor(array(batch)) for batch in batches]
    parameter = torch.zeros(matrices[0].shape[1], dtype=torch.float64, requires_grad=True)
    losses = [
        {f"task_{k}": row @ parameter + 1.0 for k, row in enumerate(matrix)} for matrix in matrices
    ]
    method.backward(losses[0], [parameter], extra_losses=losses[1:])
    return parameter.grad


@adapter("SDMGrad", "LibMTL")
def sdmgrad(case: Case) -> None:
    params = case["params"]
    method = make_method("sdmgrad", pull=params["lamda"], steps=params["niter"], rescale=True)
    triples = case["inputs"]["G_triples_steps"]
    for triple, step in zip(triples, case["expected"]["steps"], strict=True):
        written = _several_batches(method, triple)
        assert_close(method.state["weights"], step["w"], case, "weights on the simplex")
        assert_close(written, step["param_grad"], case, "update")


@adapter("MoDo", "LibMTL")
def modo(case: Case) -> None:
    params = case["params"]
    method = make_method("modo", gamma=params["gamma"], rho=params["rho"])
    triples = case["inputs"]["G_triples_steps"]
    for (first, second, third), step in zip(triples, case["expected"]["steps"], strict=True):
        written = _several_batches(method, (third, first, second))
        assert_close(method.weights, step["lambd"], case, "weights")
        assert_close(written, step["param_grad"], case, "update")


@adapter("RotoGrad", "rotograd")
def rotograd(case: Case) -> None:
    """Rotations stay at the identity, as the peer's were set to it."""
    tasks = _tasks(case)
    method = make_method("rotograd", burn_in=case["params"]["burn_in_period"])
    gradients_of = case["inputs"]["rep_task_grads_steps"]
    size = len(gradients_of[0][0])
    method.setup(tasks, dtype=torch.float64, feature_dim=size)
    for gradients, step in zip(gradients_of, case["expected"]["steps"], strict=True):
        parameter = torch.zeros(1, size, dtype=torch.float64, requires_grad=True)
        features = parameter * 1.0
        losses = {
            task: (method.task_features(task, features) * torch.tensor(array(row))).sum() + 1.0
            for task, row in zip(tasks, gradients, strict=True)
        }
        method.backward(losses, [parameter], features=features)
        assert_close(parameter.grad[0], step["rep_grad"], case, "gradient on the features")
        initial = [method.state["initial_norms"][task] for task in tasks]
        assert_close(initial, step["initial_norms"], case, "initial norms")
