from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.errors import MissingNeedError, TaskError

TASKS = ("a", "b")
GRADIENTS = {"a": [[3.0, 0.0, 0.0]], "b": [[0.0, 4.0, 0.0]]}


def ready(size=3, **options):
    method = make_method("rotograd", **options)
    method.setup(TASKS, dtype=torch.float64, feature_dim=size)
    return method


def step(method, gradients, tasks=TASKS):
    """Linear heads on rotated features; the gradient on the shared features."""
    count, size = len(gradients["a"]), len(gradients["a"][0])
    shared = torch.zeros(count, size, dtype=torch.float64, requires_grad=True)
    features = shared * 1.0
    losses = {
        task: (method.task_features(task, features) * torch.tensor(gradients[task])).sum() + 1.0
        for task in tasks
    }
    for parameter in method.parameters():
        parameter.grad = None
    method.backward(losses, [shared], features=features)
    return shared.grad


def test_tasks_weigh_the_same():
    # a_k = 1/2 each at first, so C = 7/2
    written = step(ready(), GRADIENTS)
    assert written.tolist() == [pytest.approx([3.5, 3.5, 0.0])]


def test_slow_tasks_set_the_size():
    method = ready()
    step(method, GRADIENTS)
    halved = {"a": [[1.5, 0.0, 0.0]], "b": [[0.0, 4.0, 0.0]]}
    # a = (1/2, 1) / (3/2), C = 1.5 / 3 + 4 * 2 / 3
    expected = 1.5 / 3 + 8 / 3
    assert step(method, halved)[0].tolist() == pytest.approx([expected, expected, 0.0])


def test_initial_norms_are_taken_anew_after_the_burn_in():
    method = ready(burn_in=2)
    for factor in (1.0, 2.0, 5.0, 7.0):
        step(method, {task: [[factor * x for x in rows[0]]] for task, rows in GRADIENTS.items()})
    assert method.state["initial_norms"] == {"a": pytest.approx(15.0), "b": pytest.approx(20.0)}


def test_rotations_turn_gradients_towards_each_other():
    method = ready()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(0)
    gradients = {t: torch.randn(4, 3, generator=generator).double().tolist() for t in TASKS}

    def cosine():
        rows = []
        for task, rotation in zip(TASKS, method.rotations(), strict=True):
            rows.append((torch.tensor(gradients[task], dtype=torch.float64) @ rotation).flatten())
        return float(torch.cosine_similarity(*rows, dim=0))

    before = cosine()
    for _ in range(60):
        step(method, gradients)
        optimizer.step()
    assert cosine() > before + 0.2
    eye = torch.eye(3, dtype=torch.float64)
    for rotation in method.rotations():
        torch.testing.assert_close(rotation @ rotation.T, eye)
        assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)


@pytest.mark.parametrize("rotation_loss", ["inner_product", "squared"])
def test_gradient_of_the_rotations(rotation_loss):
    """Against finite differences of the objective, with the reference vector held fixed."""
    method = ready(rotation_loss=rotation_loss)
    (own,) = method.parameters()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        own.copy_(0.3 * torch.randn(own.shape, generator=generator))
    gradients = {t: torch.randn(5, 3, generator=generator).double().tolist() for t in TASKS}
    step(method, gradients)
    on_rotated = [torch.tensor(gradients[t], dtype=torch.float64) for t in TASKS]
    start = method.rotations().clone()
    on_shared = [g @ r for g, r in zip(on_rotated, start, strict=True)]
    mean = sum(g / g.norm() for g in on_shared) / 2
    if rotation_loss == "squared":
        mean = mean * (sum(on_shared) / 2).norm()

    def objective(rotations):
        total = 0.0
        for rotation, gradient in zip(rotations, on_rotated, strict=True):
            turned = mean @ rotation.T
            if rotation_loss == "squared":
                total += float(((turned - gradient) ** 2).sum(dim=1).mean())
            else:
                total -= float((turned * gradient / gradient.norm()).sum())
        return total

    slope = own.grad.clone()
    for task, row, column in ((0, 1, 0), (0, 2, 1), (1, 2, 0)):
        ends = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                own[task, row, column] += sign * 1e-6
            ends.append(objective(method.rotations()))
            with torch.no_grad():
                own[task, row, column] -= sign * 1e-6
        assert float(slope[task, row, column]) == pytest.approx(
            (ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-7
        )
    assert not slope.triu().any()


def test_a_part_of_the_features_is_rotated():
    method = make_method("rotograd", size=2)
    method.setup(TASKS, dtype=torch.float64, feature_dim=3)
    (own,) = method.parameters()
    assert own.shape == (2, 2, 2)
    with torch.no_grad():
        own[:, 1, 0] = 0.5
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    turned = method.task_features("a", maps)
    assert turned.shape == maps.shape
    assert torch.equal(turned[:, 2], maps[:, 2])
    expected = torch.einsum("ij,bjhw->bihw", method.rotations()[0], maps[:, :2])
    torch.testing.assert_close(turned[:, :2], expected)


def test_attached_heads_read_rotated_features_also_in_evaluation():
    heads = nn.ModuleDict({task: nn.Linear(3, 2) for task in TASKS}).double()
    method = ready()
    with torch.no_grad():
        method.parameters()[0][:, 2, 0] = 0.7
    features = torch.randn(4, 3, dtype=torch.float64)
    plain = {task: heads[task](features) for task in TASKS}
    handles = method.attach(heads)
    with torch.no_grad():
        for task, rotation in zip(TASKS, method.rotations(), strict=True):
            torch.testing.assert_close(
                heads[task](features), heads[task].forward(features @ rotation.T)
            )
            assert not torch.allclose(heads[task](features), plain[task])
    for handle in handles:
        handle.remove()
    assert torch.equal(heads["a"](features), plain["a"])
    assert make_method("mgda").attach(heads) == []


def test_heads_that_read_other_features_are_an_error():
    method = ready()
    shared = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    features = shared * 1.0
    with pytest.raises(MissingNeedError, match=r"'a'.*attach"):
        method.backward({t: features.sum() for t in TASKS}, [shared], features=features)
    assert shared.grad is None
    with pytest.raises(TaskError, match="'c'"):
        method.task_features("c", features)
    with pytest.raises(MissingNeedError, match="feature_dim"):
        make_method("rotograd").setup(TASKS)


def test_state_goes_on_where_it_was():
    first = ready(burn_in=3)
    optimizer = torch.optim.SGD(first.parameters(), lr=0.1)
    for _ in range(2):
        step(first, GRADIENTS)
        optimizer.step()
    second = make_method("rotograd", burn_in=3)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        assert torch.equal(step(first, GRADIENTS), step(second, GRADIENTS))
        assert torch.equal(first.parameters()[0].grad, second.parameters()[0].grad)
    assert first.state == second.state
