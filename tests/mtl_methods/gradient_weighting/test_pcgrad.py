from __future__ import annotations

import pytest
import torch
from adapters.helpers import gradient_step

from mtl_methods import make_method

CONFLICT = [[1.0, 0.0], [-1.0, 1.0]]
THREE = [[1.0, 0.2, 0.0], [-1.0, 0.9, 0.1], [-0.5, -1.0, 0.7]]


def test_two_conflicting_gradients():
    # v_1 = g_1 + g_2 / 2, v_2 = g_2 + g_1
    outcome = gradient_step(make_method("pcgrad"), CONFLICT)
    assert outcome.weights.tolist() == pytest.approx([2.0, 1.5])
    assert outcome.written.tolist() == pytest.approx([0.5, 1.5])
    mean = gradient_step(make_method("pcgrad", reduction="mean"), CONFLICT)
    assert mean.written.tolist() == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("second", [[-3.0, 1.0], [3.0, 1.0], [-2.0, 0.0], [0.0, 0.0]])
def test_two_tasks_are_as_beside_a_third_without_gradient(reduction, epsilon, second):
    """Two tasks have formulas of their own, three do not."""
    gradients = [[1.0, 0.0], second]
    method = make_method("pcgrad", reduction=reduction, epsilon=epsilon)
    alone = gradient_step(method, gradients).weights
    method = make_method("pcgrad", reduction=reduction, epsilon=epsilon)
    beside = gradient_step(method, [*gradients, [0.0, 0.0]]).weights
    count = {"sum": 1.0, "mean": 3.0 / 2.0}[reduction]
    assert alone.tolist() == pytest.approx((count * beside[:2]).tolist())


def test_agreeing_gradients_are_summed():
    outcome = gradient_step(make_method("pcgrad"), [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert outcome.weights.tolist() == [1.0, 1.0, 1.0]
    assert outcome.written.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("name", ["pcgrad", "gradvac"])
def test_orders_follow_the_methods_own_seed(name):
    def run(seed):
        method = make_method(name)
        method.setup([f"task_{k}" for k in range(3)])
        method.seed(seed)
        return [gradient_step(method, THREE).written.tolist() for _ in range(8)]

    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = run(5)
    after_setup = torch.get_rng_state()
    torch.manual_seed(1234)
    assert run(5) == first
    assert run(6) != first
    torch.set_rng_state(state)
    make_method(name).setup(["a"])
    assert torch.equal(torch.get_rng_state(), after_setup)  # steps draw nothing from torch


@pytest.mark.parametrize("name", ["pcgrad", "gradvac"])
def test_orders_do_not_depend_on_tasks_that_were_missing_before(name):
    def last_of(steps):
        method = make_method(name)
        method.setup([f"task_{k}" for k in range(3)])
        method.seed(5)
        for count in steps:
            gradient_step(method, THREE[:count])
        return method.generator.get_state().tolist()

    assert last_of([3, 3]) == last_of([2, 3]) == last_of([1, 3])


def test_each_task_is_projected_in_its_own_order():
    """With one order for all, as a literal loop over lists does it, against the vectorised one."""
    orders = [[2, 1], [0, 2], [1, 0]]
    method = make_method("pcgrad")
    method._orders = lambda inputs: torch.tensor(orders).numpy()
    written = gradient_step(method, THREE).written
    gradients = torch.tensor(THREE, dtype=torch.float64)
    total = torch.zeros(3, dtype=torch.float64)
    for own, others in zip(gradients, orders, strict=True):
        projected = own.clone()
        for other in gradients[others]:
            product = projected @ other
            if product < 0:
                projected -= product / (other @ other) * other
        total += projected
    assert written.tolist() == pytest.approx(total.tolist())
