# ruff: noqa: NPY002  (the global generators are what is tested)
"""What every registered problem must fulfil; a new one is covered without a new test."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from digit_fixtures import write_fixture
from molecule_fixtures import write_molecules

from mtl_methods.errors import ConfigurationError, UnknownNameError
from trainables.data import iterate, to_tensors
from trainables.errors import MissingExtraError
from trainables.evaluation import evaluate
from trainables.problem import SPLITS
from trainables.problems import list_problems, make_problem
from trainables.spec import TrainingSettings

NAMES = sorted(list_problems())


@pytest.fixture(scope="module", autouse=True)
def _fixtures_for_data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in ("mnist", "fashion_mnist"):
        write_fixture(root, name)
    write_molecules(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRSWEEP_DATA_DIR", str(root))
        yield


@pytest.fixture(scope="module", params=NAMES)
def problem(request):
    made = make_problem(request.param)
    try:
        made.load()
    except MissingExtraError as error:
        pytest.skip(str(error))
    return made


@pytest.fixture(scope="module")
def splits(problem):
    return problem.load()


@pytest.fixture(scope="module")
def batch(problem, splits):
    return next(iterate(problem, to_tensors(splits)["train"], 8))[1]


def test_describes_itself(problem):
    info = list_problems()[problem.name]
    assert info.name == problem.name
    assert info.summary
    assert info.source
    assert info.licence
    assert [p.name for p in info.options] == list(problem.settings())
    TrainingSettings.from_dict(info.protocol)


def test_tasks_and_metrics_have_unique_names(problem):
    names = [task.name for task in problem.tasks]
    assert len(names) == len(set(names)) >= 1
    for task in problem.tasks:
        metrics = [metric.name for metric in task.metrics]
        assert len(metrics) == len(set(metrics)) >= 1


def test_arrays_are_plain_and_aligned(splits):
    assert set(splits) == set(SPLITS)
    for arrays in splits.values():
        lengths = {len(array) for array in arrays.values()}
        assert len(lengths) == 1
        for array in arrays.values():
            assert isinstance(array, np.ndarray)
            assert array.dtype != object
            if np.issubdtype(array.dtype, np.floating):
                assert np.isfinite(array).all()


def test_no_raw_item_is_in_two_splits(problem):
    sources = problem.sources()
    assert set(sources) == set(SPLITS)
    for one, other in itertools.combinations(SPLITS, 2):
        assert not set(sources[one].tolist()) & set(sources[other].tolist())


def test_splits_do_not_depend_on_global_generators(problem, splits):
    np.random.seed(123)
    torch.manual_seed(123)
    again = make_problem(problem.name, **problem.settings()).load()
    for split in SPLITS:
        for name, array in splits[split].items():
            np.testing.assert_array_equal(array, again[split][name])


def test_shared_and_heads_cover_every_parameter_once(problem):
    model = problem.build_model()
    heads = model.head_parameters()
    assert list(heads) == [task.name for task in problem.tasks]
    parts = [model.shared_parameters(), *heads.values()]
    ids = [id(parameter) for part in parts for parameter in part]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(parameter) for parameter in model.parameters()}
    assert model.shared_parameters()


def test_every_loss_reaches_all_shared_parameters_and_its_own_head_only(problem, batch):
    model = problem.build_model(dropout=0.0)
    features, outputs = model(batch)
    assert features.shape[-1] == model.feature_dim
    losses = problem.losses(outputs, batch)
    assert list(losses) == [task.name for task in problem.tasks]
    for task, loss in losses.items():
        assert loss.shape == ()
        assert torch.isfinite(loss)
        model.zero_grad()
        loss.backward(retain_graph=True)
        assert all(parameter.grad is not None for parameter in model.shared_parameters())
        for other, parameters in model.head_parameters().items():
            assert all((parameter.grad is not None) == (other == task) for parameter in parameters)


def test_metrics_are_those_declared(problem, splits):
    tensors = {name: values[:50] for name, values in to_tensors(splits)["validation"].items()}
    losses, values = evaluate(problem, problem.build_model(), tensors, problem.make_metrics())
    assert list(losses) == [task.name for task in problem.tasks]
    for task in problem.tasks:
        assert set(values[task.name]) == {metric.name for metric in task.metrics}


def test_model_depends_on_its_seed_alone(problem):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = problem.build_model(seed=1).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    same = problem.build_model(seed=1).state_dict()
    other = problem.build_model(seed=2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert problem.random_model == any(not torch.equal(one[name], other[name]) for name in one)


def test_a_head_does_not_depend_on_the_other_tasks(problem):
    model = problem.build_model(seed=1)
    for task in problem.tasks:
        alone = problem.build_model([task.name], seed=1)
        assert list(alone.heads) == [task.name]
        state = model.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in alone.state_dict().items())


def test_dropout_is_used(problem, batch):
    if not problem.random_model:
        pytest.skip(f"the model of {problem.name} has no dropout, as it declares")
    model = problem.build_model(dropout=0.5)
    with torch.no_grad():
        first, second = model(batch)[1], model(batch)[1]
        assert any(not torch.equal(first[task], second[task]) for task in first)
        model.eval()
        first, second = model(batch)[1], model(batch)[1]
        assert all(torch.equal(first[task], second[task]) for task in first)


def test_unknown_names(problem):
    with pytest.raises(UnknownNameError, match="no task 'nothing'; valid: "):
        problem.build_model(["nothing"])
    with pytest.raises(UnknownNameError, match="'nothing'; valid: "):
        make_problem(problem.name, nothing=1)


def test_unknown_problem():
    with pytest.raises(UnknownNameError) as caught:
        make_problem("multi_digit")
    assert str(caught.value) == (
        "there is no problem 'multi_digit' (did you mean 'multi_digits'?); valid: "
        + ", ".join(NAMES)
    )
    assert isinstance(caught.value, ConfigurationError)
