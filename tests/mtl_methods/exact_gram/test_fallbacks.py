"""What no rule covers is taken plainly, with the reason told; the result is the same."""

import pytest
import torch
from checking import Heads, check, check_trunk, heads_for, ways
from torch import nn

from mtl_methods import make_method
from mtl_methods.errors import ConfigurationError, TaskError
from mtl_methods.exact_gram import factored_gradients


def told(losses, shared, heads=None):
    found = factored_gradients(losses, list(shared), heads, forced=True)
    assert found.plan.path == "plain"
    return found.plan.reason


def test_layers_without_a_rule_are_mixed_in():
    torch.manual_seed(0)
    trunk = nn.Sequential(
        nn.Linear(16, 16), nn.PReLU(), nn.Unflatten(1, (4, 4)), nn.ConvTranspose1d(4, 3, 2)
    ).double()
    found = check_trunk(trunk, torch.randn(4, 16).double())
    assert ways(found) == ["exact", "exact", "plain", "plain", "plain"]
    reasons = {plan.reason for plan in found.plan.parameters if plan.way == "plain"}
    assert any("no rule for" in reason for reason in reasons)


def test_cost_model_leaves_many_rows_plain():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 64))
    found = check_trunk(trunk.double(), torch.randn(5, 2, 12, 12).double(), forced=False)
    by_shape = {tuple(plan.parameter.shape): plan.way for plan in found.plan.parameters}
    assert by_shape[4, 2, 3, 3] == "plain"
    assert by_shape[64, 400] == "exact"


def test_narrow_layers_with_large_batches_stay_plain():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).double()
    inputs = torch.randn(64, 8).double()
    losses = heads_for(trunk, inputs).losses(trunk(inputs))
    found = factored_gradients(losses, list(trunk.parameters()), None)
    assert found.plan.path == "plain"
    assert "too many rows" in found.plan.reason
    assert str(found.plan)


def test_layer_used_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(12, 12)

        def forward(self, x):
            return self.layer(self.layer(x).tanh()).tanh()

    torch.manual_seed(0)
    found = check_trunk(Twice().double(), torch.randn(3, 12).double())
    assert set(ways(found)) == {"exact"}


def test_convolution_and_embedding_used_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 6)
            self.convolution = nn.Conv1d(6, 6, 3, padding=1)

        def forward(self, indices):
            x = self.table(indices) + self.table(indices.flip(0)).tanh()
            return self.convolution(self.convolution(x.transpose(1, 2)).tanh())

    torch.manual_seed(0)
    found = check_trunk(Twice().double(), torch.randint(7, (2, 4)))
    assert set(ways(found)) == {"exact"}


def test_weight_used_in_different_ways_is_plain():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 6)

        def forward(self, indices):
            return nn.functional.linear(self.table(indices).tanh(), self.table.weight)

    torch.manual_seed(0)
    found = check_trunk(nn.Sequential(Tied(), nn.Linear(7, 40)).double(), torch.randint(7, (2, 4)))
    assert ways(found) == ["plain", "exact", "exact"]
    assert found.plan.parameters[0].reason == "used in different ways"


def test_parameter_in_a_penalty_is_plain():
    torch.manual_seed(0)
    trunk = nn.Linear(12, 12).double()
    inputs = torch.randn(3, 12).double()
    heads = heads_for(trunk, inputs)

    def losses():
        penalty = trunk.weight.square().sum()
        return [loss + 0.1 * penalty for loss in heads.losses(trunk(inputs).tanh())]

    found = check(losses, trunk.parameters(), 1e-10)
    assert dict(zip(("weight", "bias"), ways(found), strict=True)) == {
        "weight": "plain",
        "bias": "exact",
    }


def test_private_use_of_a_shared_parameter():
    torch.manual_seed(0)
    trunk = nn.Linear(6, 6)
    inputs = torch.randn(3, 6)
    losses = heads_for(trunk, inputs).losses(trunk(inputs))
    losses[0] = losses[0] + trunk.weight.square().sum()
    assert "outside the common trunk" in told(losses, trunk.parameters())


def test_own_forward_pass_per_task():
    torch.manual_seed(0)
    trunk = nn.Linear(6, 6)
    losses = [trunk(torch.randn(3, 6)).square().sum() for _ in range(2)]
    assert told(losses, trunk.parameters())


def test_one_task_meets_no_other():
    trunk = nn.Linear(6, 6)
    assert "no two losses meet" in told([trunk(torch.randn(3, 6)).sum()], trunk.parameters())


def test_common_part_of_heads():
    torch.manual_seed(0)
    trunk, common = nn.Linear(6, 6), nn.Linear(6, 6)
    inputs = torch.randn(3, 6)
    losses = Heads(6, 3).losses(common(trunk(inputs)))
    assert "not shared" in told(losses, trunk.parameters())


def test_heads_given_leave_other_leaves_alone():
    torch.manual_seed(0)
    trunk, frozen = nn.Linear(12, 12).double(), nn.Linear(12, 12).double()
    inputs = torch.randn(3, 12).double()
    heads = Heads(12, 3).double()
    found = check(
        lambda: heads.losses(frozen(trunk(inputs).tanh())),
        trunk.parameters(),
        1e-10,
        heads=list(heads.parameters()),
    )
    assert [len(head.leaves) for head in found.heads] == [2, 2, 2]


def test_frozen_and_unused_parameters():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 12)).double()
    trunk[0].weight.requires_grad_(False)
    trunk[2].bias.requires_grad_(False)
    found = check_trunk(trunk, torch.randn(3, 12).double())
    assert set(ways(found)) == {"exact"}
    unused = nn.Linear(2, 2)
    losses = heads_for(trunk, torch.zeros(1, 12).double()).losses(trunk(torch.ones(3, 12).double()))
    shared = [p for p in [*trunk.parameters(), *unused.parameters()] if p.requires_grad]
    found = factored_gradients(losses, shared, None, forced=True)
    found.write_weighted(torch.ones(3).numpy())
    assert unused.weight.grad is None


def test_several_outputs_of_the_trunk():
    torch.manual_seed(0)
    lower, upper = nn.Linear(12, 12).double(), nn.Linear(12, 12).double()
    heads = Heads(12, 2).double()
    inputs = torch.randn(3, 12).double()

    def losses():
        below = lower(inputs).tanh()
        above = upper(below).tanh()
        first, second = heads.losses(above)
        third, fourth = heads.layers[0](below).square().mean(), (above * below).mean()
        return [first + third, second, fourth]

    found = check(losses, [*lower.parameters(), *upper.parameters()], 1e-10)
    assert set(ways(found)) == {"exact"}


def test_heads_without_parameters_and_losses_in_the_trunk():
    torch.manual_seed(0)
    trunk = nn.Linear(12, 3).double()
    inputs = torch.randn(4, 12).double()

    def losses():
        outputs = trunk(inputs).tanh()
        common = outputs.square().sum()
        return [common, outputs[:, 1].sum(), 2.0 * common + outputs[:, 2].mean()]

    check(losses, trunk.parameters(), 1e-10)


def test_detached_loss_has_zero_row():
    torch.manual_seed(0)
    trunk = nn.Linear(12, 12).double()
    inputs = torch.randn(3, 12).double()
    losses = heads_for(trunk, inputs).losses(trunk(inputs))
    losses[1] = losses[1].detach()
    found = factored_gradients(losses, list(trunk.parameters()), None, forced=True)
    gram = found.gram()
    assert not gram[1].any()
    assert gram[0, 0] > 0.0
    assert found.heads[1].leaves == ()


@pytest.mark.parametrize("reentrant", [False])
def test_checkpointed_layers(reentrant):
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(60, 60)

        def forward(self, x):
            return checkpoint(self.layer, x, use_reentrant=reentrant).tanh()

    torch.manual_seed(0)
    trunk = nn.Sequential(Checkpointed(), Checkpointed()).double()
    found = check_trunk(trunk, torch.randn(3, 60).double())
    assert found.plan.tasks_at_once > 1


def test_custom_function_is_mixed_in():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x * weight

        @staticmethod
        def backward(ctx, gradient):
            x, weight = ctx.saved_tensors
            return gradient * weight, (gradient * x).sum(0)

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(20))

        def forward(self, x):
            return Double.apply(x, self.weight)

    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(20, 20), Scaled(), nn.Linear(20, 20)).double()
    found = check_trunk(trunk, torch.randn(3, 20).double(), count=5)
    assert found.plan.tasks_at_once == 1
    assert ways(found).count("plain") == 1


def _alike(losses_of, shared):
    """The exact path gives weights and gradients of the plain one."""
    found = []
    for path in ("exact", "plain"):
        for parameter in shared:
            parameter.grad = None
        method = make_method("cagrad", gram_path=path)
        method.backward(losses_of(), shared)
        found.append((method.weights, [parameter.grad for parameter in shared]))
    (weights, exact), (expected_weights, plain) = found
    torch.testing.assert_close(weights, expected_weights)
    torch.testing.assert_close(exact, plain)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", ["matrix", "scale", "sum", "convolution"])
def test_real_weights_of_complex_data(how):
    torch.manual_seed(0)
    layer, weight = nn.Linear(16, 16).double(), nn.Parameter(torch.randn(16).double())
    heads = [nn.Linear(16, 1).double() for _ in range(3)]
    inputs, turned = torch.randn(4, 16).double(), torch.randn(4, 16, dtype=torch.cdouble)

    def features():
        if how == "matrix":
            return (turned @ layer.weight.to(torch.cdouble)).abs() * weight
        if how == "convolution":
            kernel, bias = layer.weight[:, :, None].to(torch.cdouble), weight.to(torch.cdouble)
            return nn.functional.conv1d(turned[:, :, None], kernel, bias).squeeze(2).abs()
        spectrum = torch.fft.fft(layer(inputs))
        return (spectrum * weight if how == "scale" else spectrum + weight).abs()

    def losses():
        shared = features()
        return {str(k): (head(shared) - k).square().mean() for k, head in enumerate(heads)}

    _alike(losses, [*layer.parameters(), weight])


def test_complex_parameters_are_refused():
    weight = nn.Parameter(torch.randn(4, 4, dtype=torch.cfloat))
    features = (torch.randn(3, 4, dtype=torch.cfloat) @ weight).abs()
    losses = {"a": features.mean(), "b": features.square().mean()}
    with pytest.raises(TaskError, match=r"shape \(4, 4\) is complex.*view_as_real"):
        make_method("mgda", gram_path="exact").backward(losses, [weight])
    assert weight.grad is None


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
def test_sparse_inputs_of_a_shared_matrix(layout):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(64, 16))
    heads = [nn.Linear(16, 1) for _ in range(3)]
    dense = torch.randn(4, 64) * (torch.rand(4, 64) < 0.1)
    inputs = getattr(dense, layout)()

    def losses():
        features = inputs @ weight
        return {str(k): (head(features) - k).square().mean() for k, head in enumerate(heads)}

    _alike(losses, [weight])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loss_that_is_a_shared_parameter(dtype):
    weight, layer = nn.Parameter(torch.tensor(1.0)), nn.Linear(3, 2)
    features = layer(torch.randn(4, 3)).to(dtype)
    own = weight.to(dtype)
    losses = [features[:, 0].sum(), features[:, 1].sum(), own, own]
    assert "parameter itself" in told(losses, [weight, *layer.parameters()])


def test_what_is_kept_of_tasks_that_travel_together_is_refused_with_a_way_out():
    """Chunks of 7 and 6 tasks: what ``retain_grad`` keeps of one does not fit the other."""
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))
    heads = [nn.Linear(32, 1) for _ in range(13)]
    hidden = torch.tanh(layers[0](torch.randn(5, 32)))
    hidden.retain_grad()
    features = torch.tanh(layers[1](hidden))
    losses = {str(k): (head(features) - k).square().mean() for k, head in enumerate(heads)}
    with pytest.raises(ConfigurationError, match=r"retain_grad\(\).*gram_path='plain'"):
        make_method("mgda").backward(losses, layers.parameters())
