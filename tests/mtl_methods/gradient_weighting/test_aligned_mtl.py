from __future__ import annotations

import numpy as np
import pytest
import torch
from adapters.helpers import gradient_step

from mtl_methods import make_method
from mtl_methods.errors import TaskError

ORTHOGONAL = [[3.0, 0.0], [0.0, 1.0]]  # singular values 3 and 1


def weights(gradients, **options):
    return gradient_step(make_method("aligned_mtl", **options), gradients).weights.tolist()


@pytest.mark.parametrize(
    ("scale_mode", "common"), [("min", 1.0), ("median", 1.0), ("rmse", 5.0**0.5)]
)
def test_orthogonal_gradients_get_one_length(scale_mode, common):
    found = weights(ORTHOGONAL, scale_mode=scale_mode)
    assert found == pytest.approx([common / 6, common / 2])


def test_preferences():
    assert weights(ORTHOGONAL, preference_sum="tasks") == pytest.approx([1 / 3, 1.0])
    assert weights(ORTHOGONAL, preference=[1.0, 0.0]) == pytest.approx([1 / 3, 0.0])
    with pytest.raises(TaskError, match="3 numbers for 2 tasks"):
        weights(ORTHOGONAL, preference=[1.0, 1.0, 1.0])


def test_collinear_gradients_keep_the_one_singular_value():
    # M = 5 v v^T with v = (1, 2) / sqrt 5, so w = v (v . (1/2, 1/2))
    assert weights([[1.0, 0.0], [2.0, 0.0]]) == pytest.approx([0.3, 0.6])


def test_the_aligned_matrix_has_condition_one():
    gradients = np.random.default_rng(0).normal(size=(4, 9)) * [[1.0], [10.0], [0.1], [3.0]]
    rows = [weights(gradients, preference=row.tolist()) for row in np.eye(4)]
    aligned = np.array(rows) @ gradients
    values = np.linalg.svd(aligned, compute_uv=False)
    assert values.tolist() == pytest.approx(
        [np.linalg.svd(gradients, compute_uv=False).min()] * 4, rel=1e-6
    )


def test_rank_does_not_depend_on_the_default_type():
    nearly = [[1.0, 0.0], [1.0, 1e-5]]
    found = weights(nearly)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert weights(nearly) == found
    finally:
        torch.set_default_dtype(before)
    assert weights(nearly, rank_tolerance=1e-6) == pytest.approx([0.5, 0.5], rel=1e-4)
    assert found != pytest.approx([0.5, 0.5], rel=1e-4)


def test_the_head_of_a_task_without_shared_gradient_trains_on():
    method = make_method("aligned_mtl", head_weighting="same")
    outcome = gradient_step(method, [[0.0, 0.0], [0.0, 2.0]])
    assert outcome.weights.tolist() == pytest.approx([0.0, 0.5])
    written = [float(head) for _, head in outcome.heads.values()]
    assert written == pytest.approx([1.0, 0.5])
