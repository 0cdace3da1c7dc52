from __future__ import annotations

import math

import pytest
import torch

from mtl_methods import Need, make_method
from mtl_methods.errors import NonFiniteLossError, TaskError


def told(**losses):
    return {task: torch.tensor(value, dtype=torch.float64) for task, value in losses.items()}


def test_algorithm_1_by_hand(step):
    method = make_method("famo", logit_optimizer="sgd", w_lr=2.0, gamma=0.1)
    assert step(method, [1.0, 3.0]) == pytest.approx([0.75, 0.25])
    method.after_step(told(a=0.5, b=2.7))
    change = [math.log(1.0 / 0.5), math.log(3.0 / 2.7)]
    mean = sum(change) / 2
    logits = [-2.0 * 0.5 * (c - mean) for c in change]
    assert method.state["logits"] == pytest.approx(logits)
    powers = [math.exp(logit) for logit in logits]
    shares = [powers[0] / 2.0, powers[1] / 4.0]
    assert step(method, [2.0, 4.0]) == pytest.approx([s / sum(shares) for s in shares])
    method.after_step(told(a=2.0, b=4.0))
    assert method.state["logits"] == pytest.approx([0.8 * logit for logit in logits])


def test_adam_as_torch_has_it(step):
    method = make_method("famo", w_lr=0.1, gamma=0.05)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1, weight_decay=0.05)
    generator = torch.Generator().manual_seed(2)
    for _ in range(6):
        before, after = 0.5 + torch.rand(2, 3, generator=generator, dtype=torch.float64)
        step(method, before.tolist())
        method.after_step(dict(zip("abc", after, strict=True)))
        shares = torch.softmax(logits, 0)
        (logits.grad,) = torch.autograd.grad(shares, logits, before.log() - after.log())
        optimizer.step()
        assert method.state["logits"] == pytest.approx(logits.tolist(), rel=1e-9)


def test_the_task_that_falls_behind_gains_weight(step):
    method = make_method("famo", w_lr=0.1)
    for _ in range(20):
        step(method, [1.0, 1.0])
        method.after_step(told(a=0.5, b=0.99))
    weights = step(method, [1.0, 1.0])
    assert weights[1] > 0.9


def test_missing_task_keeps_logit_and_moments(step):
    method = make_method("famo", w_lr=0.1)
    method.setup("abc")
    for _ in range(3):
        step(method, [1.0, 2.0, 3.0])
        method.after_step(told(a=0.5, b=1.9, c=2.0))
    before = {key: float(method.state[key][2]) for key in ("logits", "updates", "first_moment")}
    step(method, [1.0, 2.0], "ab")
    method.after_step(told(a=0.5, b=1.0, c=9.0))
    assert {key: float(method.state[key][2]) for key in before} == before
    assert float(method.state["updates"][0]) == 4.0


def test_next_batch_judges_the_step(step):
    free = make_method("famo", update_from="next_batch", logit_optimizer="sgd", w_lr=1.0)
    paid = make_method("famo", logit_optimizer="sgd", w_lr=1.0)
    assert Need.LOSSES_AFTER_STEP not in free.needs
    assert Need.LOSSES_AFTER_STEP in paid.needs
    for values in ([1.0, 1.0], [0.5, 0.9], [0.4, 0.3]):
        step(free, values)
    for values, after in (([1.0, 1.0], (0.5, 0.9)), ([0.5, 0.9], (0.4, 0.3))):
        step(paid, values)
        paid.after_step(told(a=after[0], b=after[1]))
    assert free.state["logits"] == paid.state["logits"]


def test_forgotten_after_step_is_counted(step):
    method = make_method("famo")
    for _ in range(3):
        step(method, [1.0, 2.0])
    assert method.counters == {"no_losses_after_step": 2}


def test_losses_must_be_above_the_floor(step):
    with pytest.raises(TaskError, match=r"'b' is -1.*loss_floor = 0"):
        step(make_method("famo"), [1.0, -1.0])
    method = make_method("famo", loss_floor=-2.0)
    assert step(method, [1.0, -1.0]) == pytest.approx([0.25, 0.75])
    with pytest.raises(TaskError, match="'a'"):
        method.after_step(told(a=-3.0, b=1.0))


def test_non_finite_losses_after_the_step(step):
    method = make_method("famo")
    step(method, [1.0, 1.0])
    with pytest.raises(NonFiniteLossError) as error:
        method.after_step(told(a=1.0, b=math.nan))
    assert error.value.task == "b"


def test_losses_after_the_step_are_scalars_of_tasks_of_the_step(step):
    method = make_method("famo")
    step(method, [1.0, 2.0])
    with pytest.raises(TaskError, match="'a' must be a real scalar tensor, got \\(2,\\)"):
        method.after_step({"a": torch.ones(2), "b": torch.ones(())})
    method.after_step(told(another=float("nan")))
    assert method.state["logits"] == [0.0, 0.0]
    assert not method.counters


def test_losses_at_the_end_of_the_range_of_numbers(step):
    assert step(make_method("famo"), [1e-320, 1.0]) == pytest.approx([1.0, 0.0])
    assert step(make_method("famo"), [1e300, 1e300]) == pytest.approx([0.5, 0.5])
