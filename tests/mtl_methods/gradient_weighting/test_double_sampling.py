"""MoDo and SDMGrad: weights from two further batches."""

from __future__ import annotations

import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import MissingNeedError, NonFiniteLossError

GRADIENTS = [[1.0, 0.0], [0.0, 2.0]]


def step(method, batches, tasks="ab", extra_tasks="ab"):
    shared = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def losses(gradients, names):
        rows = dict(zip("ab", gradients, strict=True))
        return {t: shared @ torch.tensor(rows[t], dtype=torch.float64) + 1.0 for t in names}

    first, *rest = batches
    method.backward(
        losses(first, tasks), [shared], extra_losses=[losses(b, extra_tasks) for b in rest]
    )
    return shared.grad.tolist()


def test_modo_by_hand():
    method = make_method("modo", gamma=0.1, rho=0.0)
    written = step(method, [[[5.0, 0.0], [0.0, 1.0]], GRADIENTS, GRADIENTS])
    assert method.weights.tolist() == pytest.approx([0.575, 0.425])
    assert written == pytest.approx([5 * 0.575, 0.425])  # gradients of the first batch


def test_products_are_those_of_two_different_batches():
    method = make_method("modo", gamma=0.1, rho=0.0)
    step(method, [GRADIENTS, [[1.0, 0.0], [0.0, 0.0]], [[3.0, 1.0], [9.0, 9.0]]])
    # G1 G2^T (1/2, 1/2) = (3/2 + 9/2, 0): (-0.1, 0.5) projected
    assert method.weights.tolist() == pytest.approx([0.2, 0.8])


def test_rho_draws_weights_together():
    method = make_method("modo", gamma=0.5, rho=1.0)
    method.setup("ab")
    method.state["weights"] = torch.tensor([0.9, 0.1], dtype=torch.float64)
    step(method, [GRADIENTS, [[0.0, 0.0]] * 2, [[0.0, 0.0]] * 2])
    assert method.weights.tolist() == pytest.approx([0.7, 0.3])


def test_sdmgrad_by_hand():
    options = {"pull": 0.0, "steps": 1, "lr": 0.1, "momentum": 0.0, "gram_scale": "none"}
    method = make_method("sdmgrad", **options)
    step(method, [GRADIENTS] * 3)
    assert method.weights.tolist() == pytest.approx([0.575, 0.425])
    pulled = make_method("sdmgrad", **{**options, "pull": 1.0})
    step(pulled, [GRADIENTS] * 3)
    # slopes (1/2, 2) twice over: (0.4, 0.1) projected is (0.65, 0.35); then 1/2 more each
    assert pulled.weights.tolist() == pytest.approx([1.15, 0.85])
    rescaled = make_method("sdmgrad", **{**options, "pull": 1.0}, rescale=True)
    step(rescaled, [GRADIENTS] * 3)
    assert rescaled.weights.tolist() == pytest.approx([0.575, 0.425])


def test_sdmgrad_without_pull_is_mgda():
    method = make_method("sdmgrad", pull=0.0, lr=0.5, momentum=0.0, steps=400)
    step(method, [GRADIENTS] * 3)
    assert method.weights.tolist() == pytest.approx([0.8, 0.2])


@pytest.mark.parametrize("name", ["modo", "sdmgrad"])
def test_a_task_that_a_batch_lacks_keeps_its_weight(name):
    method = make_method(name)
    method.setup("ab")
    step(method, [GRADIENTS] * 3, extra_tasks="a")
    assert method.state["weights"].tolist() == [0.5, 0.5]
    step(method, [GRADIENTS] * 3, tasks="b")
    assert method.state["weights"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["modo", "sdmgrad"])
def test_errors_name_what_is_wrong(name):
    with pytest.raises(MissingNeedError, match="extra_losses"):
        step(make_method(name), [GRADIENTS])
    shared = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    fine = {"a": shared.sum(), "b": shared.sum()}
    broken = {"a": shared.sum() * float("nan"), "b": shared.sum()}
    with pytest.raises(NonFiniteLossError, match="'a'"):
        make_method(name).backward(fine, [shared], extra_losses=[fine, broken])
    assert shared.grad is None
