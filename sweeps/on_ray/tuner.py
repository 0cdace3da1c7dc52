"""The one call of Ray Tune: every trial of a study through one ``Tuner``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig

from sweeps.definition.study import Resources
from sweeps.on_ray.ray_session import RaySession
from sweeps.on_ray.searcher import PlanSearcher, SweepStopper, TuneEvents
from sweeps.on_ray.worker import SweepTrainable
from trainables.problem import Splits

__all__ = ["fit"]


def fit(
    searcher: PlanSearcher,
    splits: Mapping[str, Splits],
    resources: Resources,
    session: RaySession,
    stop: Callable[[], bool],
) -> None:
    """Runs the trials that a searcher suggests until it has no more, or ``stop`` says so.

    The data lies once in the object store of each node. Actors are reused, so that torch is
    imported once per slot. Tune keeps no checkpoints and tries nothing again: a trial whose worker
    died is suggested again, and continues from its own checkpoint in the results folder.

    Args:
        searcher: Suggests trials.
        splits: The arrays of the problem, by its key.
        resources: What a trial takes.
        session: The running Ray.
        stop: Whether to stop; asked several times a second.
    """
    trainable = tune.with_resources(
        tune.with_parameters(SweepTrainable, data=dict(splits)),
        _request(resources),
    )
    tune.Tuner(
        trainable,
        tune_config=TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=RunConfig(
            name="sweep",
            storage_path=str(session.storage),
            stop=SweepStopper(searcher, stop),
            failure_config=FailureConfig(max_failures=0),
            checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            callbacks=[TuneEvents(searcher)],
            verbose=0,
        ),
    ).fit()


def _request(resources: Resources) -> dict[str, float]:
    request: dict[str, float] = {"cpu": resources.cpus_per_trial}
    if resources.gpus_per_trial:
        request["gpu"] = resources.gpus_per_trial
    return request


def _name(trial: Any) -> str:
    """Short names: Tune's own hold every setting and can be too long for a file system."""
    return str(trial.trial_id)
