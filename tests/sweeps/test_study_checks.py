"""What is checked of a study before Ray starts, and what its identity depends on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sweeps_fakes import resolved_study

from mtl_methods import Need, list_methods, list_transforms
from sweeps.definition.resolve import resolve
from sweeps.definition.study import Constant, Range
from sweeps.definition.study_file import load_study, packaged_studies, parse_study
from sweeps.errors import StudyError
from sweeps.planning.plan import Plan


def refusal(**changes: Any) -> str:
    with pytest.raises(StudyError) as caught:
        resolved_study(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"methods": ["fairgard"]}, "methods.0: there is no method 'fairgard' (did you mean 'fair"),
        ({"problem": {"name": "multi_digit"}}, "problem: there is no problem 'multi_digit' (did"),
        (
            {"problem": {"name": "multi_digits", "task": "CL"}},
            "has no option 'task' (did you mean 'tasks'?)",
        ),
        ({"problem": {"name": "multi_digits", "tasks": "CL_XX"}}, "CL, CR, RL, RR"),
        ({"protocol": {"optimizer": "adm"}}, "one of 'adam', 'adamw', 'sgd'"),
        ({"protocol": {"schedule": {"name": "exp"}}}, "there is no schedule 'exp'"),
        ({"protocol": {"schedule": {"name": "exponential", "gama": 1}}}, "did you mean 'gamma'"),
        ({"methods": [{"name": "fairgrad", "alfa": 1.0}]}, "no hyper-parameter 'alfa'"),
        ({"methods": ["ls", "ls"]}, "methods.1: the label 'ls' is that of methods.0 already"),
        ({"methods": [{"name": "ls", "label": "fixed(x)"}]}, "looks like a label that fairsweep"),
        (
            {"methods": [{"name": "ls", "label": "single-task"}]},
            "methods.0.label: 'single-task' looks like a label that fairsweep gives",
        ),
        ({"methods": [{"name": "ls", "label": "stl"}]}, "looks like a label"),
        ({"population": {"label": "single-task"}}, "population.label: 'single-task' looks like"),
        ({"methods": ["stl"]}, "write 'baselines: {}' instead"),
        ({"selection": "delta"}, "selection: there is no measure 'delta' (did you mean 'delta_m"),
        ({"sampler": "tpee"}, "sampler: there is no sampler 'tpee' (did you mean 'tpe'?)"),
        ({"fixed_weights": {"sources": ["uww"]}}, "no method 'uww' in this study (did you mean"),
        ({"fixed_weights": {"sources": ["uw", "uw"]}}, "'uw' is there twice"),
        ({"replicate": None}, "fixed_weights: the weights come from replicates"),
        ({"methods": ["uw"], "fixed_weights": None}, "weight_sweep: it uses the training settings"),
        ({"baselines": None}, "selection: delta_mtm compares with single-task models"),
        ({"weight_sweep": {"points": [[1.0]]}}, "has 1 weights, not one for each of CL, RR"),
        ({"weight_sweep": {"points": [[0.0, 0.0]]}}, "not all 0"),
        (
            {"weight_sweep": {"points": [[1, 2], [3.0, 1.0], [0.1, 0.2]]}},
            "weight_sweep.points.2: [0.1, 0.2] is [1.0, 2.0] (weight_sweep.points.0) again",
        ),
        ({"methods": [{"name": "ls", "weights": [1.0]}]}, "is not one weight for each of CL, RR"),
        ({"methods": [{"name": "ls", "weights": {"CL": 1.0}}]}, "does not weight exactly"),
        ({"budget": None}, "search_space.lr: a list or range is searched, which needs a budget"),
    ],
)
def test_each_mistake_is_named_with_its_place(changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(**changes)


def test_an_unknown_method_is_answered_with_what_may_stand_there() -> None:
    def valid(message: str) -> set[str]:
        return set(message.partition("; valid: ")[2].partition(", or ")[0].split(", "))

    names = valid(refusal(methods=["ls", "nothing"], fixed_weights=None))
    of_the_model = {n for n, i in list_methods().items() if Need.LINEAR_HEADS in i.needs}
    assert names == set(list_methods()) - {"stl"} - of_the_model
    for name in names:
        resolved_study(methods=["ls", {"name": name, "label": "x"}], fixed_weights=None)
    alone = valid(
        refusal(methods=["nothing"], baselines=None, selection="loss", fixed_weights=None)
    )
    assert names - alone == {
        n for n, i in list_methods().items() if Need.PERFORMANCE_DROPS in i.needs
    }
    message = refusal(methods=["lgo+uw"], fixed_weights=None)
    assert "there is no method 'lgo' (did you mean 'log'?) in 'lgo+uw'" in message
    assert set(list_transforms()) <= valid(message)


@pytest.mark.parametrize("value", [-1.0, [2.0, -1.0], {"low": -1.0, "high": 2.0}])
def test_out_of_range_names_parameter_range_and_source(value: Any) -> None:
    message = refusal(methods=["ls", {"name": "fairgrad", "alpha": value}], fixed_weights=None)
    alpha = {p.name: p for p in list_methods()["fairgrad"].hyperparameters}["alpha"]
    assert message.startswith("methods.1.alpha: fairgrad: alpha = -1.0 is not valid")
    assert alpha.valid_range in message
    assert alpha.source in message


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (
            {"name": "auto_lambda", "primary_tasks": "CL,XX"},
            "primary_tasks = 'CL,XX': 'XX' is none of the tasks CL, RR",
        ),
        ({"name": "log+auto_lambda", "auto_lambda.primary_tasks": "XX"}, "'XX' is none of"),
        (
            {"name": "ls_course", "course": "0: 1; 5: 1 1"},
            "course: 1 weights are given from epoch 0 on for 2 tasks (CL, RR)",
        ),
        ({"name": "ls_course+cagrad", "ls_course.course": "0: 1 1 1"}, "course: 3 weights"),
        ({"name": "ls_course", "course": ["0: 1 1", "0: 1 1 1"]}, "course: 3 weights"),
    ],
)
def test_settings_that_do_not_fit_the_tasks_are_refused(
    method: dict[str, Any], expected: str
) -> None:
    message = refusal(methods=["ls", method], fixed_weights=None)
    assert message.startswith("methods.1: ")
    assert expected in message


def test_asking_methods_leaves_random_numbers_alone() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    resolved_study(methods=["ls", "rotograd", "rlw"], fixed_weights=None)
    assert torch.equal(torch.rand(2), wanted)


def test_performance_drops_need_baselines_whatever_the_method_is_called() -> None:
    in_need = [
        name for name, info in list_methods().items() if Need.PERFORMANCE_DROPS in info.needs
    ]
    assert in_need
    for name in in_need:
        message = refusal(
            methods=["ls", name], baselines=None, selection="loss", fixed_weights=None
        )
        assert message.startswith(f"methods.1: {name} needs performance drops")


def test_every_method_that_the_problem_can_train_is_accepted() -> None:
    """Needs of the model apart, the training loop serves all; the model is asked, not a name."""
    of_the_model = [
        name for name, info in list_methods().items() if Need.LINEAR_HEADS in info.needs
    ]
    others = sorted(set(list_methods()) - set(of_the_model) - {"stl"})
    methods = [*others, "rlw+cagrad", "log+uw+cagrad", "log+auto_lambda"]
    study = resolved_study(
        methods=[*methods, {"name": "ldc_mtl", "label": "double", "loop": "double"}],
        fixed_weights=None,
    )
    assert len(study.candidates) == len(methods) + 1
    assert of_the_model
    for name in of_the_model:
        message = refusal(methods=["ls", name], fixed_weights=None)
        assert message.startswith(f"methods.1: {name} needs heads of one linear layer")
        assert message.endswith("in multi_digits")


def test_held_out_training_items_concern_methods_in_need_only() -> None:
    def trials(**protocol: Any) -> dict[str, Any]:
        study = resolved_study(
            methods=["ls", "moml"],
            protocol={"epochs": 2, **protocol},
            budget=None,
            search_space=None,
            fixed_weights=None,
            weight_sweep=None,
        )
        return {
            candidate.variant: study.trial(
                "search", candidate, candidate.space.configuration({}), 0, reference=None
            )
            for candidate in study.candidates
        }

    usual, more = trials(), trials(inner_validation=0.25)
    assert usual["moml"].spec["training"]["inner_validation"] == 0.1
    assert more["moml"].spec["training"]["inner_validation"] == 0.25
    assert more["moml"].trial_id != usual["moml"].trial_id
    assert more["ls"].trial_id == usual["ls"].trial_id
    with pytest.raises(StudyError, match="inner_validation"):
        trials(inner_validation=1.0)


def test_without_baselines_a_study_selects_by_loss() -> None:
    study = resolved_study(baselines=None, selection="loss")
    assert study.baselines == ()


def test_unmentioned_hyperparameters_are_searched_over_their_recommended_range() -> None:
    study = resolved_study()
    alpha = {p.name: p for p in list_methods()["fairgrad"].hyperparameters}["alpha"]
    assert alpha.search is not None
    found = study.candidate("fairgrad").space.hyperparameters["alpha"]
    assert found == Range(*alpha.search, log=alpha.log)


def test_without_a_budget_everything_is_at_its_default() -> None:
    study = resolved_study(budget=None, search_space=None)
    space = study.candidate("fairgrad").space
    assert space.size == 1
    default = {p.name: p.default for p in list_methods()["fairgrad"].hyperparameters}
    assert space.configuration({}).hyperparameters == default


def test_the_rate_of_own_parameters_is_searched_only_where_there_are_some() -> None:
    study = resolved_study(search_space={"method_lr": {"low": 0.001, "high": 0.1, "log": True}})
    assert isinstance(study.candidate("uw").space.training["method_lr"], Range)
    assert isinstance(study.candidate("ls").space.training["method_lr"], Constant)


def test_search_and_fresh_seeds_are_disjoint_and_the_same_for_every_method() -> None:
    study = resolved_study(budget={"trials": 1, "seeds": 1000})
    assert not set(study.search_seeds) & set(study.fresh_seeds(1000))


def test_the_study_as_run_is_itself_a_study_with_the_same_identity() -> None:
    study = resolved_study()
    again = resolve(parse_study(study.as_run))
    assert again.as_run == study.as_run
    assert again.study_hash == study.study_hash


def test_identity_depends_on_what_is_computed_only() -> None:
    study = resolved_study()
    assert resolved_study(resources={"concurrent": 7}).study_hash == study.study_hash
    assert resolved_study(description="other").study_hash == study.study_hash
    assert resolved_study(seed=1).study_hash != study.study_hash
    assert resolved_study(budget={"trials": 4, "seeds": 2}).study_hash != study.study_hash


@pytest.mark.parametrize("name", list(packaged_studies()))
def test_packaged_studies_are_valid(name: str, tmp_path: Any) -> None:
    from sweeps.folder.ledger import Ledger

    study = resolve(load_study(name))
    plan = Plan(study, Ledger(tmp_path / "ledger"), tmp_path / "search", extend=False)
    assert sum(count.planned for count in plan.counts().values()) > 0
