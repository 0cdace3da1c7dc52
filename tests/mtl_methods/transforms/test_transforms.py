from __future__ import annotations

import math

import pytest
import torch

from mtl_methods import compose, list_transforms, make_method, method_info
from mtl_methods.errors import ConfigurationError, TaskError, UnknownNameError
from mtl_methods.gradient_weighting import FairGrad
from mtl_methods.loss_weighting import LS, RLW, SI, UW
from mtl_methods.transforms import AlphaFair, Identity, Log, Rescale

GRADIENTS = torch.tensor([[3.0, 4.0, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64)


def step(method, values=(2.0, 0.5), tasks=("a", "b")):
    """One step on linear losses; returns shared gradient, head gradients and weights."""
    shared = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    heads = {task: torch.zeros((), dtype=torch.float64, requires_grad=True) for task in tasks}
    losses = {
        task: value + heads[task] + shared @ GRADIENTS[k]
        for k, (task, value) in enumerate(zip(tasks, values, strict=True))
    }
    method.backward(losses, [shared])
    if method.weights is not None:
        expected = method.weights.to(torch.float64) @ GRADIENTS[: len(tasks)]
        assert shared.grad.tolist() == pytest.approx(expected.tolist())
    return shared.grad, [float(head.grad) for head in heads.values()], method.weights


def test_log_of_equal_weights_is_si():
    assert step(make_method("log+ls"))[2].tolist() == pytest.approx(step(SI())[2].tolist())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.5, 2.0, -1.0])
def test_alpha_fair_weights_are_powers_of_losses(alpha):
    _, heads, weights = step(compose(AlphaFair(alpha=alpha), LS()))
    expected = [2.0**-alpha, 0.5**-alpha]
    assert weights.tolist() == pytest.approx(expected)
    assert heads == pytest.approx(expected)


def test_alpha_fair_tends_to_log():
    near = step(compose(AlphaFair(alpha=1 - 1e-9), LS()))[2]
    assert near.tolist() == pytest.approx(step(compose(Log(), LS()))[2].tolist(), rel=1e-6)


def test_alpha_zero_and_identity_change_nothing():
    plain = step(FairGrad())
    for transform in (AlphaFair(alpha=0.0), Identity()):
        got = step(compose(transform, FairGrad()))
        assert got[0].tolist() == pytest.approx(plain[0].tolist())
        assert got[1] == pytest.approx(plain[1])


def test_gradient_method_sees_transformed_gradients():
    """log+fairgrad is FairGrad on the gradients g / l, whatever the scales of the losses."""
    got = step(compose(Log(), FairGrad(alpha=2.0)))
    matrix = GRADIENTS / torch.tensor([[2.0], [0.5]], dtype=torch.float64)
    weights = got[2] * torch.tensor([2.0, 0.5], dtype=torch.float64)
    gram = matrix @ matrix.T
    assert (gram @ weights).tolist() == pytest.approx((weights**-0.5).tolist(), rel=1e-6)
    assert got[1] == pytest.approx([0.5, 2.0])  # unit heads: the slope of the transform


def test_gram_in_the_record_is_that_of_raw_gradients():
    method = compose(Log(), FairGrad())
    step(method)
    expected = (GRADIENTS @ GRADIENTS.T).tolist()
    for row, wanted in zip(method.last_step.gram.tolist(), expected, strict=True):
        assert row == pytest.approx(wanted)


def test_three_parts_multiply():
    """Weights of log + static weights + FairGrad by hand: FairGrad on the gradients a g / l."""
    method = compose("log", LS(weights={"a": 1.0, "b": 3.0}), FairGrad(alpha=2.0))
    assert method.name == "log+ls+fairgrad"
    weights = step(method)[2]
    factors = torch.tensor([0.5, 6.0], dtype=torch.float64)
    gram = (GRADIENTS * factors[:, None]) @ (GRADIENTS * factors[:, None]).T
    inner = weights / factors
    assert (gram @ inner).tolist() == pytest.approx((inner**-0.5).tolist(), rel=1e-6)


def test_equal_weighting_is_the_identity_in_either_place():
    plain = step(FairGrad())[0].tolist()
    assert step(compose(LS(), FairGrad()))[0].tolist() == pytest.approx(plain)
    uw = step(UW())[2].tolist()
    assert step(compose(UW(), LS()))[2].tolist() == pytest.approx(uw)


def test_transforms_apply_from_left_to_right():
    method = compose(Rescale(), Log(), LS())
    step(method, (4.0, 4.0))
    assert step(method)[2].tolist() == pytest.approx([1 / 2.0, 1 / 0.5])
    assert float(method.method.last_step.weights[0]) == pytest.approx(0.5)


def test_rescale_divides_by_the_first_loss_of_each_task():
    method = compose(Rescale(), LS())
    method.setup("ab")
    step(method, (4.0,), ("a",))
    assert step(method, (2.0, 0.5))[2].tolist() == pytest.approx([0.25, 2.0])
    restored = compose(Rescale(), LS())
    restored.load_state_dict(method.state_dict())
    assert step(restored, (9.0, 9.0))[2].tolist() == pytest.approx([0.25, 2.0])


def test_rescale_reads_first_losses_anew_in_each_epoch():
    method = compose(Rescale(renew_each_epoch=True), LS())
    step(method, (4.0, 2.0))
    method.end_epoch(epoch=0, train_losses={"a": 4.0, "b": 2.0})
    assert step(method, (2.0, 0.5))[2].tolist() == pytest.approx([0.5, 2.0])


def test_famo_is_told_transformed_losses_after_the_step():
    method, plain = make_method("alpha_fair+famo"), make_method("famo")
    step(method, (4.0, 1.0))
    step(plain, (4.0, 2.0))  # 2 sqrt(l): 4 and 2
    method.after_step({"a": torch.tensor(1.0), "b": torch.tensor(1.0)})
    plain.after_step({"a": torch.tensor(2.0), "b": torch.tensor(2.0)})
    got, wanted = method.method.state["logits"], plain.state["logits"]
    assert got == pytest.approx(wanted, rel=1e-6)


def test_dwa_is_told_transformed_means():
    method = make_method("alpha_fair+dwa")
    method.setup("ab")
    method.end_epoch(epoch=0, train_losses={"a": 4.0, "b": 1.0})
    method.end_epoch(epoch=1, train_losses={"a": 1.0, "b": 1.0})
    first, second = (math.exp(0.5 / 2), math.exp(1.0 / 2))
    expected = [2 * first / (first + second), 2 * second / (first + second)]
    assert step(method, (1.0, 1.0))[2].tolist() == pytest.approx(expected)


def test_half_precision_losses_are_transformed_in_float():
    shared = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    loss = (shared * torch.tensor([0.5, 0.25], dtype=torch.bfloat16)).sum()
    make_method("log+ls").backward({"a": loss}, [shared])
    assert shared.grad.tolist() == pytest.approx([0.5 / 0.75, 0.25 / 0.75], rel=1e-2)


def test_domain_errors_name_the_task():
    with pytest.raises(TaskError, match=r"log: the loss of task 'b' is 0"):
        step(make_method("log+ls"), (1.0, 0.0))
    with pytest.raises(TaskError, match="'b' or its derivative overflows"):
        step(compose(AlphaFair(alpha=100.0), LS()), (1.0, 1e-12))


def test_settings_and_state_bear_the_names_of_the_parts():
    method = make_method(
        "alpha_fair+rlw+fairgrad", **{"alpha_fair.alpha": 0.3, "distribution": "uniform"}
    )
    settings = method.settings()
    assert settings["alpha_fair.alpha"] == 0.3
    assert settings["rlw.distribution"] == "uniform"
    assert settings["fairgrad.alpha"] == FairGrad().alpha
    names = {p.name for p in method_info("alpha_fair+rlw+fairgrad").hyperparameters}
    assert names == set(settings)
    with pytest.raises(UnknownNameError, match="belongs to several parts"):
        make_method("alpha_fair+rlw+fairgrad", alpha=0.3)


def test_state_is_restored():
    method = make_method("log+rlw+fairgrad")
    step(method)
    saved = method.state_dict()
    restored = make_method("log+rlw+fairgrad")
    restored.load_state_dict(saved)
    assert step(restored)[2].tolist() == step(method)[2].tolist()
    with pytest.raises(TaskError, match=r"log\+rlw\+fairgrad"):
        make_method("rescale+rlw+fairgrad").load_state_dict(saved)


@pytest.mark.parametrize(
    "parts",
    [(), (Log(),), (SI(),), (LS(), Log()), (Log(), Log(), LS()), (FairGrad(), LS()), (RLW(), SI())],
)
def test_parts_that_do_not_go_together_are_refused(parts):
    with pytest.raises(ConfigurationError, match="compose takes"):
        compose(*parts)


def test_transform_alone_is_no_method():
    with pytest.raises(ConfigurationError, match=r"log\+ls"):
        make_method("log")
    with pytest.raises(UnknownNameError, match="alpha_fair"):
        make_method("alpha_far+ls")


def test_transforms_are_listed_with_what_they_declare():
    assert set(list_transforms()) == {"identity", "log", "rescale", "alpha_fair"}
    assert all(info.summary and info.equation for info in list_transforms().values())


@pytest.mark.parametrize("alpha", [-3.0, 0.0, 0.5, 1.0, 2.0])
def test_dominance_is_kept(alpha):
    """Proposition 6.1 of the FairGrad paper: the Pareto front of the transformed losses."""
    transform = AlphaFair(alpha=alpha)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(40, 3, generator=generator, dtype=torch.float64) + 0.1
    tasks = ("a", "b", "c")
    moved = torch.stack([transform(tasks, point) for point in points])
    before = (points[:, None] <= points[None]).all(-1)
    after = (moved[:, None] <= moved[None]).all(-1)
    assert bool((before == after).all())


def test_very_negative_alpha_trains_the_largest_loss_only():
    weights = step(compose(AlphaFair(alpha=-60.0), LS()), (1.0, 2.0))[2]
    assert float(weights[0] / weights[1]) < 1e-12
