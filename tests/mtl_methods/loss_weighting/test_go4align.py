from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mtl_methods import make_method
from mtl_methods.errors import TaskError
from mtl_methods.loss_weighting.go4align import cluster_1d


def spread(points: np.ndarray, labels: tuple[int, ...]) -> float:
    total = 0.0
    for label in set(labels):
        group = points[np.array(labels) == label]
        total += float(((group - group.mean()) ** 2).sum())
    return total


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_k_means_equals_enumeration(groups):
    generator = np.random.default_rng(groups)
    for _ in range(10):
        points = generator.lognormal(size=7)
        least = min(spread(points, labels) for labels in itertools.product(range(groups), repeat=7))
        assert spread(points, tuple(cluster_1d(points.tolist(), groups))) == pytest.approx(
            least, abs=1e-12
        )


def test_k_means_groups_rise_and_are_all_used():
    labels = cluster_1d([3.0, 1.0, 2.0, 1.0], 4)
    assert sorted(labels) == [0, 1, 2, 3]
    assert cluster_1d([5.0, 5.0], 1) == [0, 0]
    assert cluster_1d([10.0, 0.0, 9.0, 1.0], 2) == [1, 0, 1, 0]
    assert cluster_1d([1e24, 1.0, 4e24], 2) == [0, 0, 1]


def test_one_group_is_the_mean_weight(step):
    # equal indicators 1/3 and losses 1, 2, 3: mean of 6/l/3 = 11/9
    weights = step(make_method("go4align", num_groups=1, step_size=0.0), [1.0, 2.0, 3.0])
    assert weights == pytest.approx([11 / 9] * 3)


def test_groups_share_a_weight_and_indicators_move(step):
    method = make_method("go4align", num_groups=2, step_size=0.1)
    shares = [math.exp(-0.1), math.exp(-0.8), math.exp(-0.9)]
    shares = [share / sum(shares) for share in shares]
    risks = [share * 18.0 / loss for share, loss in zip(shares, [1.0, 8.0, 9.0], strict=True)]
    small = (risks[1] + risks[2]) / 2
    assert step(method, [1.0, 8.0, 9.0]) == pytest.approx([risks[0], small, small])


def test_missing_task_keeps_its_indicator(step):
    method = make_method("go4align", step_size=0.5)
    method.setup("abc")
    step(method, [1.0, 4.0], "ab")
    shares = np.exp(method.state["log_indicators"])
    assert shares[2] == pytest.approx(1 / 3)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] / shares[1] == pytest.approx(math.exp(1.5))


def test_a_step_that_is_refused_moves_nothing(step):
    method = make_method("go4align", step_size=0.5)
    method.setup("abc")
    before = list(method.state["log_indicators"])
    with pytest.raises(TaskError, match="the weight of task 'c' exceeds the range of numbers"):
        step(method, [1e308, 1e308, 1.0])
    assert method.state["log_indicators"] == before
