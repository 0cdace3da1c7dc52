from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mtl_methods import make_method
from mtl_methods.errors import ConfigurationError
from trainables import make_problem, run_trial
from trainables.toy_objectives import FLOOR, FORMS, STARTS, objectives, pareto_front, trajectories


def by_hand(x1, x2, form, scale):
    """The formulas as printed, term by term."""
    c1, c2 = max(math.tanh(0.5 * x2), 0), max(math.tanh(-0.5 * x2), 0)
    f1 = math.log(max(abs(0.5 * (-x1 - 7) - math.tanh(-x2)), 0.000005)) + 6
    bend = math.tanh(-x2) if form == "code" else -math.tanh(-x2)
    f2 = math.log(max(abs(0.5 * (-x1 + 3) + bend + 2), 0.000005)) + 6
    y = x1 if form == "fairgrad" else x2
    g1 = ((-x1 + 7) ** 2 + 0.1 * (-y - 8) ** 2) / 10 - 20
    g2 = ((-x1 - 7) ** 2 + 0.1 * (-y - 8) ** 2) / 10 - 20
    return scale * (c1 * f1 + c2 * g1), c1 * f2 + c2 * g2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_values_by_hand(form, scale):
    points = [*STARTS["fairgrad"], *STARTS["ldc_mtl"], (-7.0, 0.4), (3.0, -2.0), (7.0, -8.0)]
    values = objectives(torch.tensor(points, dtype=torch.float64), form=form, scale=scale)
    expected = [by_hand(*point, form, scale) for point in points]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_the_forms_differ_where_they_should():
    above = torch.tensor([1.0, 2.0], dtype=torch.float64)
    below = torch.tensor([1.0, -2.0], dtype=torch.float64)
    code, ldc, fair = (objectives(above, form=form) for form in FORMS)
    assert code[0] == ldc[0] == fair[0]
    assert code[1] != ldc[1] == fair[1]
    code, ldc, fair = (objectives(below, form=form) for form in FORMS)
    assert torch.equal(code, ldc)
    assert (code != fair).all()


def test_the_start_at_the_kink_moves():
    point = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for task in range(2):
        (gradient,) = torch.autograd.grad(objectives(point)[task], point)
        assert gradient[1].abs() > 0.5


@pytest.mark.parametrize("form", ["code", "ldc_mtl"])
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_the_front_is_stationary_and_not_dominated(form, scale):
    points, values = pareto_front(101, form=form, scale=scale)
    leaf = torch.from_numpy(points).requires_grad_()
    found = objectives(leaf, form=form, scale=scale)
    np.testing.assert_allclose(found.detach().numpy(), values)
    rows = [torch.autograd.grad(found[:, k].sum(), leaf, retain_graph=True)[0] for k in (0, 1)]
    share = torch.from_numpy((7 + points[:, :1]) / 14)
    mixed = share * rows[0] / scale + (1 - share) * rows[1]
    assert mixed.abs().max() < 1e-9
    assert (np.diff(values[:, 0]) > 0).all()
    assert (np.diff(values[:, 1]) < 0).all()
    cloud = np.random.default_rng(0).uniform(-12, 12, size=(100_000, 2))
    others = objectives(torch.from_numpy(cloud), form=form, scale=scale).numpy()
    for value in values[::10]:
        assert not (others < value - 1e-9).all(axis=1).any()
    assert (others > np.array([scale, 1.0]) * FLOOR).all()


def test_the_front_of_the_form_without_a_minimum():
    points, values = pareto_front(50, form="fairgrad")
    assert np.isneginf(points[:, 1]).all()
    far = np.stack([points[:, 0], np.full(50, -60.0)], axis=-1)
    np.testing.assert_allclose(
        objectives(torch.from_numpy(far), form="fairgrad").numpy(), values, atol=1e-9
    )
    cloud = np.random.default_rng(0).uniform(-15, 15, size=(50_000, 2))
    others = objectives(torch.from_numpy(cloud), form="fairgrad").numpy()
    for value in values[::7]:
        assert not (others < value - 1e-9).all(axis=1).any()


def test_trajectories_are_those_of_single_points():
    """Several points at once move as each would by plain Adam on the sum of its objectives."""
    starts = STARTS["ldc_mtl"]
    found = trajectories(
        lambda: make_method("ls"), starts=starts, steps=25, lr=0.01, record_every=10
    )
    assert found.steps.tolist() == [0, 10, 20, 25]
    assert found.points.shape == found.values.shape == (5, 4, 2)
    for start, points, values in zip(starts, found.points, found.values, strict=True):
        point = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
        optimizer = torch.optim.Adam([point], lr=0.01)
        for _ in range(25):
            optimizer.zero_grad()
            objectives(point).sum().backward()
            optimizer.step()
        np.testing.assert_allclose(points[0], start)
        np.testing.assert_allclose(points[-1], point.detach().numpy(), rtol=1e-9)
        np.testing.assert_allclose(values[-1], objectives(point).detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fairgrad", {"alpha": 2.0}),
        ("famo", {"loss_floor": FLOOR}),
        ("ldc_mtl", {}),
        ("uw", {}),
        ("mgda", {}),
    ],
)
def test_methods_move_and_fall(name, settings):
    found = trajectories(
        lambda: make_method(name, **settings), starts=[(9.0, -1.0)], steps=60, lr=0.05
    )
    assert np.isfinite(found.values).all()
    assert (found.values[0, -1] < found.values[0, 0]).any()


def test_fairgrad_comes_to_the_front():
    found = trajectories(
        lambda: make_method("fairgrad", alpha=2.0), starts=[(9.0, -1.0)], steps=400, lr=0.05
    )
    _, front = pareto_front(2000)
    distance = np.abs((front - found.values[0, -1]) / [0.1, 1.0]).max(axis=1).min()
    assert distance < 0.1


def test_bad_requests():
    with pytest.raises(ConfigurationError, match="form = 'x' is not valid; it must be one of code"):
        objectives(torch.zeros(2), form="x")
    with pytest.raises(ConfigurationError, match="moml needs what this problem has not"):
        trajectories(lambda: make_method("moml"), steps=1)
    with pytest.raises(ConfigurationError, match="steps >= 1"):
        trajectories(lambda: make_method("ls"), steps=0)


def test_a_trial_is_one_starting_point():
    record = run_trial(
        {
            "problem": {"name": "toy", "options": {"x1": 9.0, "x2": -1.0, "steps_per_epoch": 20}},
            "method": "ls",
            "training": {"epochs": 2, "lr": 0.01},
            "selection": "loss",
        }
    )
    assert record["status"] == "finished"
    expected = trajectories(
        lambda: make_method("ls"), starts=[(9.0, -1.0)], steps=40, lr=0.01, record_every=20
    ).values[0]
    for row, (first, second) in zip(record["epochs"], expected[1:], strict=True):
        assert row["validation_loss.L1"] == pytest.approx(first, abs=1e-4)
        assert row["validation.L2.height"] == pytest.approx(second - FLOOR, abs=1e-3)
        assert row["validation.L1.height"] == pytest.approx(first - 0.1 * FLOOR, abs=1e-4)


def test_protocol_is_50000_steps():
    problem = make_problem("toy")
    assert problem.protocol["epochs"] * problem.options.steps_per_epoch == 50_000
