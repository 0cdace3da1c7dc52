"""What ``backward`` refuses, each in one sentence and before anything is written."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mtl_methods import make_method
from mtl_methods.errors import ConfigurationError, FairsweepError, TaskError, UnknownNameError


def a_step():
    torch.manual_seed(0)
    trunk = nn.Linear(3, 3)
    heads = nn.ModuleList(nn.Linear(3, 1) for _ in range(2))
    features = trunk(torch.randn(4, 3))
    losses = {f"t{k}": head(features).square().mean() for k, head in enumerate(heads)}
    return trunk, heads, features, losses


@pytest.mark.parametrize("name", ["ls", "uw", "fairgrad", "pcgrad"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: {"shared": s[0].weight}, "shared must be an iterable of tensors.*Parameter"),
        (lambda s: {"shared": 3}, "shared must be an iterable of tensors.*int"),
        (lambda s: {"shared": s[0]}, "shared must be an iterable of tensors.*Linear"),
        (lambda s: {"shared": s[0].named_parameters()}, "shared must hold tensors only.*tuple"),
        (lambda s: {"shared": [s[0].weight, None]}, "shared must hold tensors only.*NoneType"),
        (lambda s: {"shared": [s[0].weight * 2]}, r"shared must hold leaves.*\(3, 3\)"),
        (lambda s: {"heads": s[1][0].weight}, "heads must be an iterable of tensors"),
        (lambda s: {"heads": ["t0"]}, "heads must hold tensors only.*str"),
        (lambda s: {"features": [0.5]}, "features must hold tensors only.*float"),
        (lambda s: {"losses": list(s[3].values())}, "losses must be a mapping.*list"),
        (lambda s: {"losses": s[3]["t0"]}, "losses must be a mapping.*Tensor"),
        (lambda s: {"losses": {"t0": s[3]["t0"] * 1j}}, "real scalar.*complex64"),
        (lambda s: {"losses": {"t0": 0.5}}, "real scalar tensor, got float"),
        (
            lambda s: {"losses": {"x": torch.tensor(1), **s[3]}},
            "real scalar tensor, got torch.int64",
        ),
    ],
)
def test_arguments_that_are_refused(name, change, sentence):
    step = a_step()
    arguments = {"losses": step[3], "shared": step[0].parameters(), **change(step)}
    method = make_method(name)
    with pytest.raises(TaskError, match=sentence) as caught:
        method.backward(**arguments)
    assert "\n" not in str(caught.value)
    assert all(p.grad is None for p in (*step[0].parameters(), *step[1].parameters()))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, "one", None, 1j, torch.ones(2)])
@pytest.mark.parametrize("name", ["ls", "fairgrad"])
def test_a_loss_scale_is_a_positive_number(name, scale):
    trunk, _, _, losses = a_step()
    with pytest.raises(ConfigurationError, match="grad_scale must be a finite number above 0"):
        make_method(name).backward(losses, trunk.parameters(), grad_scale=scale)
    assert trunk.weight.grad is None


def test_a_loss_scale_may_be_a_tensor():
    trunk, _, _, losses = a_step()
    make_method("ls").backward(losses, trunk.parameters(), grad_scale=torch.tensor(2.0))
    assert trunk.weight.grad is not None


@pytest.mark.parametrize("name", ["fairgrad", "pcgrad", "mgda"])
def test_features_without_a_graph_or_use(name):
    trunk, _, features, losses = a_step()
    for wrong, sentence in (
        (features.detach(), "no graph behind them"),
        (trunk(torch.ones(1, 3)), "no loss of the step depends on the features"),
    ):
        method = make_method(name, gradients_on="features")
        with pytest.raises(TaskError, match=sentence):
            method.backward(losses, trunk.parameters(), features=wrong)
    assert trunk.weight.grad is None


@pytest.mark.parametrize("name", ["fairgrad", "pcgrad", "mgda"])
def test_gradient_methods_need_a_shared_parameter_in_use(name):
    _, heads, _, losses = a_step()
    with pytest.raises(TaskError, match="no loss of the step depends on a shared parameter"):
        make_method(name).backward(losses, nn.Linear(3, 3).parameters())
    assert heads[0].weight.grad is None


@pytest.mark.parametrize("name", [None, 3, nn.Linear])
def test_a_method_is_made_by_its_name(name):
    with pytest.raises(UnknownNameError, match="'fairgrad'"):
        make_method(name)
    assert issubclass(UnknownNameError, FairsweepError)


@pytest.mark.parametrize("gram_path", ["plain", "exact"])
def test_sparse_gradients_of_embeddings(gram_path):
    found = {}
    for sparse in (False, True):
        torch.manual_seed(0)
        table = nn.Embedding(6, 4, sparse=sparse)
        own = nn.Embedding(6, 4, sparse=sparse)
        rows = torch.tensor([1, 1, 4])
        losses = {
            "one": (table(rows) * own(rows)).square().mean(),
            "two": (table(rows) - 1.0).square().mean(),
        }
        method = make_method("fairgrad", gram_path=gram_path)
        method.backward(losses, table.parameters())
        found[sparse] = [method.weights, table.weight.grad, own.weight.grad.to_dense()]
        assert not table.weight.grad.is_sparse
    torch.testing.assert_close(found[True], found[False])
