"""MTLTrainable: without Ray's runtime where that is enough, and once in a real small run."""

from __future__ import annotations

import os

import pytest
import torch

from mtl_methods.errors import ConfigurationError
from trainables.data import DataCache
from trainables.record import read_record, record_path
from trainables.session import TrialSession
from trainables.trainable import MTLTrainable, trainable_with_data

TIMES = ("train_seconds", "solve_seconds")


def timeless(rows):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.fixture
def actor(tmp_path, make_spec, monkeypatch):
    """An object of the class as Ray makes it in an actor, without an actor."""
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    loads = []
    original = type(make_spec().make_problem()).load

    def load(self, data_dir=None):
        loads.append(self.key)
        return original(self, data_dir)

    monkeypatch.setattr(type(make_spec().make_problem()), "load", load)

    def make(spec, **config):
        trainable = MTLTrainable({"spec": spec.to_dict(), **config})
        trainable.loads = loads
        return trainable

    return make


def test_rows_are_those_of_a_session(actor, make_spec, data):
    spec = make_spec(epochs=2)
    trainable = actor(spec)
    results = [trainable.train(), trainable.train()]
    expected = TrialSession(spec, data).run()
    assert [result["done"] for result in results] == [False, True]
    rows = timeless(expected["epochs"])
    for result, row in zip(results, rows, strict=True):
        assert row.items() <= result.items()
    assert results[-1]["status"] == "finished"
    trainable.stop()


def test_actors_are_reused_and_load_data_once(actor, make_spec, tmp_path):
    first, second = make_spec(epochs=2), make_spec(epochs=2, seed=9)
    trainable = actor(first, results_dir=str(tmp_path))
    trainable.train()  # and leave it unfinished
    assert trainable.reset({"spec": second.to_dict(), "results_dir": str(tmp_path)}) is True
    while not trainable.train()["done"]:
        pass
    assert len(trainable.loads) == 1
    assert read_record(record_path(tmp_path, second.trial_id))["status"] == "finished"
    # The first went on where it was left.
    assert trainable.reset({"spec": first.to_dict(), "results_dir": str(tmp_path)}) is True
    assert trainable.train()["epoch"] == 2
    assert len(trainable.loads) == 1
    trainable.stop()


def test_rays_own_checkpoint_restores(actor, make_spec, data, tmp_path):
    spec = make_spec("fake_stateful", epochs=3)
    trainable = actor(spec)
    trainable.train()
    trainable.train()
    folder = tmp_path / "from_ray"
    folder.mkdir()
    trainable.save_checkpoint(str(folder))
    trainable.stop()
    other = actor(spec)
    other.load_checkpoint(str(folder))
    result = other.train()
    assert result["epoch"] == 3
    assert result["done"] is True
    expected = TrialSession(spec, data).run()
    assert timeless(other._session.record["epochs"]) == timeless(expected["epochs"])
    other.stop()


def test_an_older_checkpoint_of_rays_does_not_turn_back_time(actor, make_spec, tmp_path):
    spec = make_spec(epochs=3)
    trainable = actor(spec, results_dir=str(tmp_path), checkpoint_every_s=0.0)
    trainable.train()
    folder = tmp_path / "from_ray"
    folder.mkdir()
    trainable.save_checkpoint(str(folder))
    trainable.train()
    other = actor(spec, results_dir=str(tmp_path))
    other.load_checkpoint(str(folder))
    assert other.train()["epoch"] == 3


def test_a_failure_ends_the_trial_without_an_error_of_rays(actor, make_spec):
    trainable = actor(make_spec("fake_failing", epochs=5))
    result = {"done": False}
    while not result["done"]:
        result = trainable.train()
    assert result["status"] == "failed"


def test_mistakes_in_the_configuration(actor, make_spec):
    with pytest.raises(ConfigurationError, match="no configuration key 'result_dir'; valid: spec"):
        actor(make_spec(), result_dir="x")
    with pytest.raises(ConfigurationError, match="is not that of the specification"):
        actor(make_spec(), trial_id="0" * 16)


@pytest.mark.slow
def test_a_real_run_with_reused_actors(make_spec, tmp_path, monkeypatch):
    import ray
    from ray import tune

    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())  # noqa: PTH109
    specs = [make_spec(epochs=2, seed=seed, evaluate_test=True) for seed in (1, 2)]
    results_dir = tmp_path / "results"
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        trainable = trainable_with_data([specs[0].make_problem()])
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={
                "spec": tune.grid_search([spec.to_dict() for spec in specs]),
                "phase": "search",
                "results_dir": str(results_dir),
            },
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "ray"), verbose=0),
        )
        grid = tuner.fit()
    finally:
        ray.shutdown()
    assert not grid.errors
    assert {result.metrics["status"] for result in grid} == {"finished"}
    assert len({result.metrics["pid"] for result in grid}) == 1  # one actor did both
    for spec in specs:
        record = read_record(record_path(results_dir, spec.trial_id))
        here = TrialSession(spec, DataCache()).run()
        assert timeless(record["epochs"]) == timeless(here["epochs"])
        assert record["test"] == here["test"]
    assert torch.get_num_threads() >= 1
