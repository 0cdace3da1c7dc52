from __future__ import annotations

import numpy as np
import pytest
import torch

from mtl_methods import StepRecord
from trainables.epoch_statistics import EpochStatistics, mean_cosine


def test_cosine_from_the_gram_matrix_alone():
    gradients = np.random.default_rng(0).standard_normal((4, 9))
    mean = gradients.mean(0)
    expected = np.mean([g @ mean / np.linalg.norm(g) / np.linalg.norm(mean) for g in gradients])
    assert mean_cosine(gradients @ gradients.T) == pytest.approx(expected)


def test_cosine_of_extremes():
    assert mean_cosine(np.ones((3, 3))) == pytest.approx(1.0)
    assert mean_cosine(np.eye(2)) == pytest.approx(np.sqrt(0.5))
    assert mean_cosine(np.array([[1.0, -1.0], [-1.0, 1.0]])) is None
    assert mean_cosine(np.array([[1.0, 0.0], [0.0, 0.0]])) is None


def record(weights, *, tasks=("a", "b"), **rest):
    return StepRecord(tasks=tasks, weights=torch.tensor(weights), **rest)


def test_means_and_sums():
    statistics = EpochStatistics(["a", "b"])
    statistics.add_step(
        {"a": 1.0, "b": 4.0},
        30,
        record([1.0, 0.0], gram=np.diag([4.0, 9.0]), residual=1e-9, solve_seconds=0.5),
        grad_norm=2.0,
        clipped=True,
    )
    # A batch without task b.
    statistics.add_step(
        {"a": 2.0},
        10,
        record([3.0], tasks=("a",), gram=np.array([[16.0]]), residual=1e-10, solve_seconds=0.25),
        grad_norm=4.0,
        clipped=False,
    )
    row = statistics.row(clipping=True)
    assert row["train_loss.a"] == pytest.approx(1.25)  # weighted by items
    assert row["train_loss.b"] == 4.0
    assert row["weight.a"] == 2.0
    assert row["weight.b"] == 0.0
    assert row["grad_norm.a"] == 3.0
    assert row["grad_norm.b"] == 3.0
    assert row["grad_norm"] == 3.0
    assert row["grad_norm_clipped"] == 0.5
    assert row["solver_residual"] == 1e-9
    assert row["solve_seconds"] == 0.75
    assert statistics.trained == ("a",)
    assert "grad_norm_clipped" not in statistics.row(clipping=False)


def test_methods_without_weights_train_all():
    statistics = EpochStatistics(["a", "b"])
    statistics.add_step(
        {"a": 1.0, "b": 1.0}, 5, StepRecord(tasks=("a", "b")), grad_norm=1.0, clipped=False
    )
    assert statistics.trained == ("a", "b")
    row = statistics.row(clipping=False)
    assert not [key for key in row if key.startswith("weight.")]
    assert "grad_cosine" not in row
    assert "solver_residual" not in row
