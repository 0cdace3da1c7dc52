from __future__ import annotations

import pytest
from adapters.helpers import gradient_step, loss_step

from mtl_methods import make_method
from mtl_methods.core.performance import performance_weights
from mtl_methods.errors import MissingNeedError

DROPS = {"task_0": -4.0, "task_1": 6.0}


def told(name, **options):
    method = make_method(name, **options)
    method.setup(list(DROPS))
    method.end_epoch(epoch=0, train_losses={}, performance_drops=DROPS)
    return method


def test_losses_are_weighted_by_omega_after_the_first_epoch():
    assert loss_step(make_method("pivrg_weights"), [1.0, 2.0]).weights.tolist() == [1.0, 1.0]
    found = loss_step(told("pivrg_weights", tau_star=5.0), [1.0, 2.0]).weights
    omega = performance_weights(list(DROPS.values()), 5.0, 0.5, 2.0)
    assert found.tolist() == pytest.approx(omega.tolist())
    assert found[1] > found[0]


def test_plugs_into_a_gradient_weighting():
    method = told("pivrg_weights+mgda", **{"pivrg_weights.tau_star": 5.0})
    outcome = gradient_step(method, [[1.0, 0.0], [0.0, 1.0]])
    omega = performance_weights(list(DROPS.values()), 5.0, 0.5, 2.0)
    # shortest combination of omega_k g_k: w_k along 1 / omega_k^2
    inverse = omega**-2.0
    expected = inverse / inverse.sum() * omega
    assert outcome.weights.tolist() == pytest.approx(expected.tolist())


def test_drops_are_needed():
    with pytest.raises(MissingNeedError, match="pivrg_weights needs performance_drops"):
        make_method("pivrg_weights").end_epoch(epoch=0, train_losses={})
