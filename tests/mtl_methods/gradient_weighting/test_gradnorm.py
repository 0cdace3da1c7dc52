from __future__ import annotations

import pytest
import torch
from adapters.helpers import gradient_step

from mtl_methods import make_method
from mtl_methods.testing import matrix_stage

GRADIENTS = [[1.0, 0.0], [0.0, 3.0]]
TASKS = ["task_0", "task_1"]


def ready(**options):
    method = make_method("gradnorm", **options)
    method.setup(TASKS, dtype=torch.float64)
    return method, torch.optim.SGD(method.parameters(), lr=0.1)


def test_weights_descend_to_equal_norms_and_keep_their_sum():
    method, optimizer = ready(alpha=0.0)
    outcome = gradient_step(method, GRADIENTS)
    assert outcome.weights.tolist() == [1.0, 1.0]
    # norms 1 and 3, goal 2: slopes -1 and +3
    assert outcome.own[0].tolist() == pytest.approx([-1.0, 3.0])
    optimizer.step()
    outcome = gradient_step(method, GRADIENTS)
    assert outcome.weights.tolist() == pytest.approx([2 * 1.1 / 1.8, 2 * 0.7 / 1.8])
    for group in optimizer.param_groups:
        group["lr"] = 0.002
    for _ in range(300):
        optimizer.step()
        outcome = gradient_step(method, GRADIENTS)
    assert outcome.weights.tolist() == pytest.approx([1.5, 0.5], abs=0.02)
    assert float(outcome.weights.sum()) == pytest.approx(2.0)


def test_training_rates_set_the_goal():
    method, _ = ready(alpha=1.0)
    gradient_step(method, GRADIENTS, [4.0, 4.0])
    # l / l(0) = 1/4 and 1, rates 0.4 and 1.6, goals 0.8 and 3.2 of norms 1 and 3
    outcome = gradient_step(method, GRADIENTS, [1.0, 4.0])
    assert outcome.own[0].tolist() == pytest.approx([1.0, -3.0])


@pytest.mark.parametrize("loss", [0.1, 0.3, 0.7, 1.1, 2.3, 4.9, 17.3, 49.0, 0.93, 3.7e-5])
def test_a_task_alone_is_at_its_goal(loss):
    method, _ = ready()
    gradient_step(method, GRADIENTS)
    method.state["initial"][TASKS[0]] = 1.3
    own = method.own.weight
    own.grad = None
    weight = torch.tensor([1.0, 0.7], dtype=torch.float64, requires_grad=True)
    value = (weight * torch.tensor([0.2, 0.4])).sum()
    method.backward({TASKS[0]: value + (loss - value.detach())}, [weight])
    assert own.grad.tolist() == [0.0, 0.0]


def test_heads_get_the_weights():
    method, optimizer = ready()
    gradient_step(method, GRADIENTS)
    optimizer.step()
    outcome = gradient_step(method, GRADIENTS)
    written = [float(head) for _, head in outcome.heads.values()]
    assert written == pytest.approx(outcome.weights.tolist())
    assert written[0] != 1.0


def test_first_epoch_variant_waits_for_the_epoch():
    method, _ = ready(initial_loss="first_epoch", parametrisation="softmax")
    outcome = gradient_step(method, GRADIENTS, [1.0, 2.0])
    assert outcome.weights.tolist() == [1.0, 1.0]
    assert outcome.own == []
    method.end_epoch(epoch=0, train_losses={"task_0": 2.0, "task_1": 2.0})
    outcome = gradient_step(method, GRADIENTS, [1.0, 2.0])
    assert float(outcome.own[0].sum()) == pytest.approx(0.0)
    assert outcome.own[0].abs().min() > 0.1


def test_a_missing_task_keeps_weight_and_initial_loss():
    method, optimizer = ready()
    stage = matrix_stage(GRADIENTS)
    stage.step(method, update=False)
    optimizer.step()
    kept = method.parameters()[0][1].item()
    stage.step(method, tasks=["task_0"], update=False)
    optimizer.step()
    assert method.parameters()[0][1].item() == kept
    assert method.state["initial"]["task_1"] == 2.0


def test_weights_stay_positive():
    method, optimizer = ready(alpha=0.0)
    for group in optimizer.param_groups:
        group["lr"] = 10.0
    for _ in range(4):
        outcome = gradient_step(method, GRADIENTS)
        assert outcome.weights.min() > 0.0
        optimizer.step()
