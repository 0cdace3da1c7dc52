"""What stays in the driver's memory of a trial of Tune's that has ended."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial
from sweeps_fakes import make_plan, resolved_study

from sweeps.definition.study import Resources
from sweeps.on_ray.forgetting import Forgetting
from sweeps.on_ray.searcher import PlanSearcher, TuneEvents

CONFIG: dict[str, Any] = {"spec": {f"setting {n}": float(n) for n in range(40)}, "label": "ls seed"}
RESULT: dict[str, Any] = {
    "epoch": 1,
    "objective": -0.5,
    "status": "finished",
    "done": True,
    "pid": 17,
    **{f"time_{n}": 0.1 for n in range(6)},
}


def ended_trial() -> Trial:
    """A trial as Tune holds it, after three reports."""
    trial = Trial(
        "SweepTrainable",
        stub=True,
        config={**CONFIG, "spec": dict(CONFIG["spec"])},
        evaluated_params={f"spec/{name}": value for name, value in CONFIG["spec"].items()},
        experiment_tag=f"1_{CONFIG}",
        placement_group_factory=PlacementGroupFactory([{"CPU": 1.0}]),
    )
    trial.create_placement_group_factory()
    for epoch in range(3):
        trial.update_last_result({**RESULT, "training_iteration": epoch + 1})
    return trial


def said(trial: Trial) -> set[str]:
    """What Tune would write down of a trial's configuration and results."""
    text = str(trial.__getstate__()) + trial.run_metadata.get_json_state()
    return {word for word in ("setting 7", "objective") if word in text}


def test_nothing_of_configuration_and_results_stays() -> None:
    trial = ended_trial()
    assert said(trial) == {"setting 7", "objective"}
    Forgetting().forget(trial)
    assert (trial.config, trial.evaluated_params, trial.metric_analysis) == ({}, {}, {})
    assert said(trial) == set()


def test_tune_can_still_name_it_and_read_its_end() -> None:
    trial = ended_trial()
    trial.set_status(Trial.TERMINATED)
    Forgetting().forget(trial)
    assert trial.is_finished()
    assert trial.last_result == {"trial_id": trial.trial_id}
    assert trial.placement_group_factory == PlacementGroupFactory([{"CPU": 1.0}])
    assert trial.trial_id in str(trial.get_json_state())


def test_trials_that_ended_share_a_request() -> None:
    forgetting, trials = Forgetting(), [ended_trial() for _ in range(3)]
    for trial in trials:
        forgetting.forget(trial)
    assert len({id(trial.placement_group_factory) for trial in trials}) == 1


def test_a_trial_that_ended_takes_little() -> None:
    def kept(forget: bool) -> float:
        """KiB that a trial takes."""
        forgetting, trials = Forgetting(), [ended_trial()]
        tracemalloc.start()
        for _ in range(50):
            trials.append(ended_trial())
            if forget:
                forgetting.forget(trials[-1])
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] / 1024 / 50
        tracemalloc.stop()
        return taken

    assert kept(forget=False) > 25.0
    assert kept(forget=True) < 8.0


def test_the_sweep_forgets_when_a_trial_is_complete(tmp_path: Path) -> None:
    plan = make_plan(resolved_study(), tmp_path)
    first = plan.next()
    assert first is not None
    resources = Resources()
    searcher = PlanSearcher(
        plan, tmp_path, resources=resources, slots=1, events=_Quiet(), first=first
    )
    trial = ended_trial()
    TuneEvents(searcher).on_trial_complete(1, [trial], trial)
    assert trial.config == {}


class _Quiet:
    def started(self, trial: Any) -> None: ...

    def progressed(self, trial: Any, epoch: int) -> None: ...

    def ended(self, trial: Any, record: Any) -> None: ...
