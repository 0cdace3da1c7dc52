"""Hessian products, eigenvalues and gradient variance against explicit computation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mtl_methods.errors import ConfigurationError, FairsweepError, TaskError, UnknownNameError
from trainables import make_problem
from trainables.data import to_tensors
from trainables.flatness import (
    WEIGHTED_SUM,
    choose_parameters,
    fixed_losses,
    gradient_variance,
    hessian_vector_product,
    measure_flatness,
)
from trainables.lanczos import largest_eigenvalues

WEIGHTS = {"a": 0.3, "b": 1.7}


@pytest.fixture
def net():
    """A tiny two-task network in double precision, its parameters and its losses in batches."""
    torch.manual_seed(0)
    shared = nn.Sequential(nn.Linear(3, 4), nn.Tanh()).double()
    heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 1)}).double()
    inputs = torch.randn(10, 3, dtype=torch.float64)
    classes = torch.randint(2, (10,))
    targets = torch.randn(10, 1, dtype=torch.float64)

    def losses_of(index):
        features = shared(inputs[index])
        return {
            "a": nn.functional.cross_entropy(heads["a"](features), classes[index]),
            "b": nn.functional.mse_loss(heads["b"](features), targets[index]),
        }

    def batches(size):
        def go_over():
            for index in torch.split(torch.arange(10), size):
                yield len(index), losses_of(index)

        return go_over

    return batches, [*shared.parameters(), *heads.parameters()]


def explicit_hessian(losses, weights, parameters):
    """Row by row, over one batch with all items."""
    ((_, values),) = losses()
    value = sum(weight * values[task] for task, weight in weights.items())
    gradient = torch.cat(
        [
            g.reshape(-1)
            for g in torch.autograd.grad(
                value, parameters, create_graph=True, materialize_grads=True
            )
        ]
    )
    rows = [
        torch.cat(
            [
                g.reshape(-1)
                for g in torch.autograd.grad(
                    entry, parameters, retain_graph=True, materialize_grads=True
                )
            ]
        )
        if entry.requires_grad
        else torch.zeros(len(gradient), dtype=gradient.dtype)
        for entry in gradient
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("weights", [WEIGHTS, {"a": 1.0}, {"b": 1.0}])
def test_products_and_eigenvalues_are_those_of_the_explicit_hessian(net, weights):
    batches, parameters = net
    hessian = explicit_hessian(batches(10), weights, parameters)
    size = len(hessian)
    assert torch.allclose(hessian, hessian.T, atol=1e-12)
    vector = torch.randn(size, dtype=torch.float64)
    for batch_size in (10, 4):  # the last batch smaller: a mean over items, not over batches
        product = hessian_vector_product(batches(batch_size), weights, parameters, vector)
        assert torch.allclose(product, hessian @ vector, rtol=0, atol=1e-12)
    exact = torch.linalg.eigvalsh(hessian).flip(0)
    found = largest_eigenvalues(
        lambda v: hessian_vector_product(batches(4), weights, parameters, v),
        size,
        k=3,
        tolerance=1e-12,
    )
    assert found.values == pytest.approx(exact[:3].tolist(), abs=1e-8)
    assert found.converged
    assert max(found.residuals) < 1e-8


def test_a_known_quadratic():
    x = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    unused = torch.ones(2, dtype=torch.float64, requires_grad=True)
    curvature = torch.tensor([4.0, 1.0, -6.0], dtype=torch.float64)

    def losses():
        yield 5, {"q": (curvature * x**2).sum() / 2, "linear": 3 * x.sum()}

    def product(vector, weights):
        return hessian_vector_product(losses, weights, [x, unused], vector)

    vector = torch.arange(1.0, 6.0, dtype=torch.float64)
    expected = torch.tensor([4.0, 2.0, -18.0, 0.0, 0.0], dtype=torch.float64)
    assert torch.equal(product(vector, {"q": 1.0, "linear": 9.0}), expected)
    assert torch.equal(product(vector, {"linear": 1.0}), torch.zeros(5, dtype=torch.float64))
    found = largest_eigenvalues(lambda v: product(v, {"q": 0.5}), 5, k=5)
    assert found.values == pytest.approx((2.0, 0.5, 0.0, 0.0, -3.0), abs=1e-12)
    assert x.grad is None


def test_the_variance_of_gradients_by_hand():
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    slopes = {
        "a": [[1.0, 0.0], [3.0, 4.0], [2.0, 2.0]],
        "b": [[0.0, 0.0], [0.0, 6.0], [0.0, 0.0]],
    }

    def losses():
        for step in range(3):
            yield (
                7,
                {
                    task: (torch.tensor(rows[step], dtype=torch.float64) * x).sum()
                    for task, rows in slopes.items()
                },
            )

    found = gradient_variance(losses, {"a": 0.5, "b": 0.5}, [x])
    # a: mean (2, 2), squares 1 + 4, 1 + 4, 0.  b: mean (0, 2), squares 4, 16, 4.
    # (a + b) / 2: (0.5, 0), (1.5, 5), (1, 1), mean (1, 2), squares 4.25, 9.25, 1.
    assert found == pytest.approx({"a": 10 / 3, "b": 8.0, WEIGHTED_SUM: 14.5 / 3}, rel=1e-14)


def test_the_variance_needs_two_mini_batches_of_one_size(net):
    batches, parameters = net
    with pytest.raises(ConfigurationError, match="two mini-batches of one size, not 1 of 10"):
        gradient_variance(batches(10), WEIGHTS, parameters)
    with pytest.raises(ConfigurationError, match=r"not sizes \[4, 4, 2\]"):
        gradient_variance(batches(4), WEIGHTS, parameters)


def test_weights_of_tasks_that_do_not_exist(net):
    batches, parameters = net
    with pytest.raises(TaskError, match="no loss of 'c'; the losses are those of a, b"):
        hessian_vector_product(batches(5), {"c": 1.0}, parameters, torch.zeros(31).double())
    with pytest.raises(TaskError, match="'c'"):
        gradient_variance(batches(5), {"a": 1.0, "c": 1.0}, parameters)


def test_derivatives_that_are_not_finite_are_refused():
    x = torch.zeros(2, requires_grad=True)

    def losses():
        for _ in range(2):
            yield 1, {"root": x.abs().sum().sqrt()}

    with pytest.raises(FairsweepError, match="Hessian-vector product is not finite"):
        hessian_vector_product(losses, {"root": 1.0}, [x], torch.ones(2))
    with pytest.raises(FairsweepError, match="the gradient of root is not finite"):
        gradient_variance(losses, {"root": 1.0}, [x])


# ------------------------------------------------------------------ a model


@pytest.fixture(scope="module")
def digits():
    problem = make_problem("multi_digits", tasks="CL_RR", train_pairs=320, validation_pairs=200)
    return problem, to_tensors(problem.load())["train"]


def measured(digits, model, **options):
    problem, split = digits
    settings = {"items": 100, "batch_size": 32, "tolerance": 1e-2, **options}
    return measure_flatness(problem, model, split, **settings)


def content(found):
    return [{k: v for k, v in vars(one).items() if k != "seconds"} for one in found]


def test_a_model_is_measured_reproducibly_and_left_as_it_was(digits):
    model = digits[0].build_model(dropout=0.5, seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first = measured(digits, model)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert content(measured(digits, model)) == content(first)
    assert [one.task for one in first] == [WEIGHTED_SUM, "CL", "RR"]
    assert all(one.converged and one.items == 100 and one.batch_size == 32 for one in first)
    assert all(one.residual <= 0.011 * one.lambda_max for one in first)
    assert all(one.gradient_variance > 0 and one.seconds > 0 for one in first)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_weighted_sum_is_the_mean_of_tasks_by_default_and_others_can_be_given(digits):
    model = digits[0].build_model(seed=1)
    default = measured(digits, model)
    assert content(measured(digits, model, weights={"CL": 0.5, "RR": 0.5})) == content(default)
    alone = measured(digits, model, weights={"CL": 2.0})
    assert alone[0].lambda_max == pytest.approx(2 * alone[1].lambda_max, rel=1e-4)
    assert alone[0].gradient_variance == pytest.approx(4 * alone[1].gradient_variance, rel=1e-5)
    assert [one.task for one in measured(digits, model, tasks=["RR"])] == [WEIGHTED_SUM, "RR"]


def test_shared_parameters_see_a_block_of_the_hessian(digits):
    model = digits[0].build_model(seed=1)
    whole, block = measured(digits, model), measured(digits, model, parameters="shared")
    for one, other in zip(whole, block, strict=True):
        assert other.lambda_max < one.lambda_max + one.residual  # eigenvalues interlace
        assert other.gradient_variance < one.gradient_variance
    with pytest.raises(UnknownNameError, match="no parameters 'heads'; valid: all, shared"):
        choose_parameters(model, "heads")


def test_the_items_are_fixed_distinct_and_in_full_mini_batches(digits):
    problem, split = digits
    model = problem.build_model(seed=1).eval()

    def sizes_and_losses(**options):
        drawn = fixed_losses(problem, model, split, **{"items": 150, "batch_size": 64, **options})
        return [(items, losses["CL"].item()) for items, losses in drawn()]

    first = sizes_and_losses()
    assert [items for items, _ in first] == [64, 64, 22]
    assert sizes_and_losses() == first
    assert sizes_and_losses(drop_last=True) == first[:2]
    assert sizes_and_losses(seed=1) != first
    # All items once, whatever the order: the loss of the split.
    total = sum(items * loss for items, loss in sizes_and_losses(items=10**6)) / 320
    index = torch.arange(320)
    batch = problem.make_batch(split, index)
    assert total == pytest.approx(problem.losses(model(batch)[1], batch)["CL"].item(), rel=1e-5)


@pytest.mark.parametrize(("items", "batch_size"), [(100, 64), (10**6, 200)])
def test_too_few_items_for_two_mini_batches(digits, items, batch_size):
    model = digits[0].build_model()
    with pytest.raises(ConfigurationError, match=f"{min(items, 320)} items are fewer than the two"):
        measured(digits, model, items=items, batch_size=batch_size)


def test_a_sharper_loss_has_a_larger_eigenvalue(digits):
    """Logits of a head scaled up: the curvature by the features below grows."""
    model = digits[0].build_model(seed=1)
    flat = measured(digits, model, tasks=["RR"], parameters="shared")[1]
    with torch.no_grad():
        for parameter in model.heads["RR"].parameters():
            parameter *= 3.0
    sharp = measured(digits, model, tasks=["RR"], parameters="shared")[1]
    assert sharp.lambda_max > 2 * flat.lambda_max
    assert math.isfinite(sharp.lambda_max)


@pytest.mark.parametrize(("recurrent", "cudnn"), [(nn.LSTM, False), (nn.LSTMCell, True)])
def test_recurrent_layers_run_without_what_cannot_be_derived_twice(
    digits, monkeypatch, recurrent, cudnn
):
    problem, split = digits
    model = problem.build_model(seed=1)
    monkeypatch.setattr(torch.backends.cudnn, "enabled", True)
    seen = []
    model.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    model.add_module("recurrent", recurrent(3, 2))
    for _ in fixed_losses(problem, model, split, items=40, batch_size=20)():
        assert torch.backends.cudnn.enabled
    assert seen == [cudnn] * 2
