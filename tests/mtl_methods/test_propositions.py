"""What the papers prove of these methods.

Propositions 1 to 6: "Uniform Loss vs. Specialized Optimization", appendix A.4, under its
assumptions (equal gradient norms; equal losses). Proposition 3 needs alpha_1 among the weights,
Proposition 6 the inverse in c_t, Proposition 5 the lag in zeta: the misprints of the statements.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from adapters.helpers import gradient_step, loss_step

from mtl_methods import make_method
from mtl_methods.core.performance import performance_weights

ANGLES = (0.1, 0.5, 1.3, math.pi / 2, 2.2, 3.0)


def two_gradients(angle, length=1.7):
    """Two gradients of one length at an angle, turned into five dimensions."""
    generator = torch.Generator().manual_seed(1)
    basis, _ = torch.linalg.qr(torch.randn(5, 2, generator=generator, dtype=torch.float64))
    plane = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    return length * plane @ basis.T


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("c", [0.0, 0.2, 0.5, 0.9])
def test_proposition_1_cagrad(angle, c):
    weights = gradient_step(make_method("cagrad", c=c), two_gradients(angle)).weights
    assert weights.tolist() == pytest.approx([(1 + c) / 2] * 2, rel=1e-8)


@pytest.mark.parametrize("angle", ANGLES)
def test_proposition_2_nash_mtl(angle):
    gradients = two_gradients(angle)
    weights = gradient_step(make_method("nash_mtl"), gradients).weights
    rate = float(gradients[0] @ gradients[0] + gradients[0] @ gradients[1])
    assert weights.tolist() == pytest.approx([rate**-0.5] * 2, rel=1e-8)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("name", ["imtl_g", "edm"])
def test_propositions_3_and_4(name, angle):
    weights = gradient_step(make_method(name), two_gradients(angle)).weights
    assert weights.tolist() == pytest.approx([0.5, 0.5], rel=1e-7)


def test_proposition_5_cdtt():
    method = make_method("cdtt")
    for step in range(25):  # its tension starts after ten steps
        gradients = two_gradients(0.4 + 0.1 * step, length=2.0 - 0.05 * step)
        outcome = gradient_step(method, gradients, [1.5, 1.5])
        assert outcome.weights[0] == pytest.approx(float(outcome.weights[1]), rel=1e-6)


@pytest.mark.parametrize("logit_optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("count", [2, 3, 11])
def test_proposition_6_famo(count, logit_optimizer):
    method = make_method("famo", logit_optimizer=logit_optimizer, w_lr=0.5, gamma=0.01)
    loss = 3.0
    for step in range(30):
        outcome = loss_step(method, [loss] * count)
        assert outcome.weights.tolist() == pytest.approx([1.0 / count] * count, rel=1e-12)
        loss *= 0.7 if step % 3 else 1.2
        after = torch.tensor(loss, dtype=torch.float64)
        method.after_step(dict.fromkeys(outcome.tasks, after))
    logits = method.state["logits"]
    assert max(logits) - min(logits) < 1e-12


def test_proposition_6_needs_equal_losses():
    method = make_method("famo")
    outcome = loss_step(method, [1.0, 2.0])
    assert outcome.weights.tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize("count", [2, 3, 11, 40])
def test_pivrg_proposition_1_bounds(count):
    """With tau from s = min(1 / low, high), omega stays in [low, high] and sums to K."""
    generator = np.random.default_rng(count)
    for low, high in ((0.5, 2.0), (0.2, 3.0), (0.9, 10.0), (0.01, 1.1)):
        for size in (1e-3, 1.0, 1e3):
            drops = size * generator.standard_normal(count) + generator.normal()
            omega = performance_weights(drops, 1e-9, low, high)
            assert omega.sum() == pytest.approx(count)
            assert omega.min() >= low * (1 - 1e-12)
            assert omega.max() <= high * (1 + 1e-12)
            assert (np.argsort(omega) == np.argsort(drops)).all()


def test_pivrg_proposition_1_is_tight():
    """The ratio of the extreme weights is s where the bound, not tau_star, sets tau."""
    omega = performance_weights([0.0, 3.0, 7.0], 1e-9, 0.5, 4.0)
    assert omega.max() / omega.min() == pytest.approx(2.0)


@pytest.mark.parametrize("count", [2, 5, 11])
def test_pivrg_proposition_2_variance(count):
    """Var[dm] = tau^2 (omega' omega / K - 1), up to terms that vanish like 1 / tau."""
    drops = np.random.default_rng(count).normal(size=count)
    errors = []
    for tau in (10.0, 100.0, 1000.0):
        omega = performance_weights(drops, tau, 1e-9, 1e9)
        variance = tau**2 * (omega @ omega / count - 1.0)
        errors.append(abs(variance / drops.var() - 1.0))
    assert errors[0] < 0.5
    assert errors[1] < 0.15 * errors[0]
    assert errors[2] < 0.15 * errors[1]


def test_pivrg_rates():
    """g_k . d = sqrt(omega_k / w_k) after an epoch, sqrt(1 / w_k) before (section 6.3)."""
    gradients = two_gradients(1.0)
    method = make_method("pivrg", tau_star=5.0)
    drops = {"task_0": -4.0, "task_1": 6.0}
    before = gradient_step(method, gradients)
    rates = before.raw @ before.written
    assert rates.tolist() == pytest.approx(before.weights.pow(-0.5).tolist())
    method.end_epoch(epoch=0, train_losses={}, performance_drops=drops)
    after = gradient_step(method, gradients)
    omega = torch.tensor(performance_weights(list(drops.values()), 5.0, 0.5, 2.0))
    rates = after.raw @ after.written
    assert rates.tolist() == pytest.approx((omega / after.weights).sqrt().tolist())
    assert after.weights[1] > after.weights[0]
    assert before.weights[1] == pytest.approx(float(before.weights[0]))
