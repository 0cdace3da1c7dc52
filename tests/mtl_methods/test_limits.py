"""Where methods become one another."""

from __future__ import annotations

import math

import pytest
import torch
from adapters.helpers import gradient_step, loss_step

from mtl_methods import make_method
from mtl_methods.solvers.cone_projection import solve_cone_projection

GENERATOR = torch.Generator().manual_seed(3)
GENERIC = torch.randn(3, 8, generator=GENERATOR, dtype=torch.float64)
AGREEING = GENERIC + 2.0 * torch.randn(1, 8, generator=GENERATOR, dtype=torch.float64)


def cosine(one, other):
    return float(one @ other / (one.norm() * other.norm()))


def weights_of(name, gradients, **settings):
    return gradient_step(make_method(name, **settings), gradients).weights


def test_fairgrad_alpha_0_is_ls():
    for gradients in (GENERIC, AGREEING):
        ls = gradient_step(make_method("ls"), gradients)
        fair = gradient_step(make_method("fairgrad", alpha=0.0), gradients)
        assert torch.equal(ls.weights, fair.weights)
        assert torch.allclose(ls.written, fair.written, rtol=1e-14)


def test_fairgrad_small_alpha_tends_to_ls_where_gradients_agree():
    assert bool((AGREEING @ AGREEING.sum(0) > 0).all())
    errors = [
        float((weights_of("fairgrad", AGREEING, alpha=alpha) - 1).abs().max())
        for alpha in (0.1, 0.05, 0.025)
    ]
    assert errors[0] < 0.5
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.6 * errors[1]


def test_fairgrad_small_alpha_keeps_rates_positive_where_gradients_conflict():
    """Equation 2 demands g_k . d >= 0: the limit is the sum projected on the dual cone."""
    gradients = torch.cat([AGREEING, -0.7 * AGREEING[:1] + 0.1 * GENERIC[:1]])
    gram = (gradients @ gradients.T).numpy()
    assert (gram.sum(1) < 0).any()
    limit = torch.from_numpy(solve_cone_projection(gram, [1.0] * 4).weights) @ gradients
    cosines = [
        cosine(
            gradient_step(make_method("fairgrad", alpha=alpha), gradients).written,
            limit,
        )
        for alpha in (0.4, 0.2, 0.1)
    ]
    assert cosines[0] < cosines[1] < cosines[2]
    assert cosines[2] > 0.99


@pytest.mark.parametrize("gradients", [GENERIC, AGREEING], ids=["generic", "agreeing"])
def test_fairgrad_alpha_1_is_nash_mtl(gradients):
    assert torch.equal(
        weights_of("fairgrad", gradients, alpha=1.0), weights_of("nash_mtl", gradients)
    )


@pytest.mark.parametrize("gradients", [GENERIC, AGREEING], ids=["generic", "agreeing"])
def test_fairgrad_large_alpha_is_max_min(gradients):
    limit = gradient_step(make_method("fairgrad", alpha=math.inf), gradients)
    rates = limit.raw @ limit.written
    assert float(rates.min()) == pytest.approx(1.0)
    errors = []
    for alpha in (4.0, 16.0, 64.0):
        finite = gradient_step(make_method("fairgrad", alpha=alpha), gradients)
        errors.append(float((finite.written - limit.written).norm() / limit.written.norm()))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.1
    mgda = gradient_step(make_method("mgda"), gradients)
    assert cosine(mgda.written, limit.written) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("gradients", [GENERIC, AGREEING], ids=["generic", "agreeing"])
def test_cagrad_c_0_is_the_mean(gradients):
    assert weights_of("cagrad", gradients, c=0.0).tolist() == pytest.approx([1 / 3] * 3)
    as_ls = weights_of("cagrad", gradients, c=0.0, gradient_scale="sum")
    assert as_ls.tolist() == pytest.approx([1.0] * 3)


def test_cagrad_large_c_is_max_min():
    """With a large ball the update is the min-norm point's direction (MGDA)."""
    limit = gradient_step(make_method("fairgrad", alpha=math.inf), GENERIC)
    wide = gradient_step(make_method("cagrad", c=1e4), GENERIC)
    assert cosine(wide.written, limit.written) > 1 - 1e-6


def test_pivrg_equal_drops_is_fairgrad_alpha_2():
    method = make_method("pivrg")
    method.setup(["task_0", "task_1", "task_2"])
    drops = dict.fromkeys(method.tasks, 4.0)
    method.end_epoch(epoch=0, train_losses={}, performance_drops=drops)
    pivrg = gradient_step(method, GENERIC).weights
    assert torch.equal(pivrg, weights_of("fairgrad", GENERIC, alpha=2.0))


def test_uw_starts_as_half_of_ls():
    assert loss_step(make_method("uw"), [1.0, 5.0]).weights.tolist() == [0.5, 0.5]


def test_ldc_mtl_without_discrepancy_starts_as_the_mean():
    method = make_method("ldc_mtl", discrepancy=0.0, penalty=1.0)
    weights = loss_step(method, [1.0, 5.0, 2.0]).weights
    assert weights.tolist() == pytest.approx([1 / 3] * 3)


def test_famo_that_does_not_learn_descends_the_log_losses():
    method = make_method("famo", w_lr=0.0)
    losses = [1.0, 4.0, 2.0]
    for _ in range(3):
        outcome = loss_step(method, losses)
        total = sum(1 / loss for loss in losses)
        assert outcome.weights.tolist() == pytest.approx([1 / loss / total for loss in losses])
        method.after_step({t: torch.tensor(0.5, dtype=torch.float64) for t in outcome.tasks})
