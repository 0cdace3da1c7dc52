from __future__ import annotations

import pytest

from mtl_methods import make_method


def test_derivative_of_the_geometric_mean(step):
    # GM = sqrt(2 * 8) = 4, weights GM / (2 l)
    assert step(make_method("gls"), [2.0, 8.0]) == pytest.approx([1.0, 0.25])


def test_forty_tiny_losses_do_not_underflow(step):
    values = [1e-12 * (k + 1) for k in range(26)]
    weights = step(make_method("gls"), values)
    total = sum(weight * value for weight, value in zip(weights, values, strict=True))
    assert weights[0] / weights[25] == pytest.approx(26.0)
    assert total == pytest.approx(10.7e-12, rel=1e-2)  # (26!)^(1/26) = 10.7
