from __future__ import annotations

import copy
import hashlib
import json

import pytest

from mtl_methods.errors import ConfigurationError, UnknownNameError
from trainables.errors import ReferenceMetricError
from trainables.spec import TrainingSettings, TrialSpec, canonical_json

SPEC = {
    "problem": {"name": "multi_digits", "options": {"tasks": "CL_RR"}},
    "method": {"name": "ls", "hyperparameters": {"weights": {"CL": 0.5, "RR": 1.5}}},
    "training": {"epochs": 4, "lr": 0.01, "schedule": {"name": "exponential", "gamma": 0.8}},
    "seed": 7,
    "evaluate_test": True,
    "selection": "delta_mtm",
    "reference": {"CL": {"accuracy": 0.97}, "RR": {"mse": 0.015}},
}


def changed(**changes):
    spec = copy.deepcopy(SPEC)
    spec.update(changes)
    return spec


def test_identity_is_the_hash_of_the_complete_dictionary():
    spec = TrialSpec.from_dict(SPEC)
    content = spec.to_dict()
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert spec.trial_id == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert set(content["training"]) == {
        *("epochs", "batch_size", "optimizer", "lr", "method_lr", "weight_decay", "momentum"),
        *("dropout", "clip_grad_norm", "inner_validation", "schedule"),
    }


def test_round_trip_through_json():
    spec = TrialSpec.from_dict(SPEC)
    again = TrialSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.to_dict() == spec.to_dict()
    assert again.trial_id == spec.trial_id


def test_defaults_written_out_or_left_out_are_the_same_trial():
    short = {"problem": "multi_digits", "method": "ls"}
    spec = TrialSpec.from_dict(short)
    assert TrialSpec.from_dict(spec.to_dict()).trial_id == spec.trial_id
    full = {
        "problem": {"name": "multi_digits", "options": {"data_seed": 0}},
        "method": {"name": "ls", "hyperparameters": {"weights": None}},
        "seed": 0,
    }
    assert TrialSpec.from_dict(full).trial_id == spec.trial_id


def test_integers_for_floats_are_the_same_trial():
    one = TrialSpec.from_dict(changed(training={"lr": 1, "clip_grad_norm": 1}))
    other = TrialSpec.from_dict(changed(training={"lr": 1.0, "clip_grad_norm": 1.0}))
    assert one.trial_id == other.trial_id


def test_training_defaults_are_the_problems_protocol():
    training = TrialSpec.from_dict({"problem": "multi_digits", "method": "ls"}).to_dict()[
        "training"
    ]
    assert training["lr"] == 0.0025
    assert training["epochs"] == 15
    assert training["schedule"] == {"name": "exponential", "gamma": 0.9}


def test_everything_that_matters_changes_the_identity():
    variants = [
        changed(seed=8),
        changed(evaluate_test=False),
        changed(selection="loss"),
        changed(reference=None),
        changed(reference={"CL": {"accuracy": 0.96}, "RR": {"mse": 0.015}}),
        changed(training={"epochs": 5}),
        changed(training={"epochs": 4, "schedule": None}),
        changed(method={"name": "ls"}),
        changed(problem={"name": "multi_digits", "options": {"data_seed": 3}}),
    ]
    ids = {TrialSpec.from_dict(spec).trial_id for spec in [SPEC, *variants]}
    assert len(ids) == len(variants) + 1


def test_configuration_is_what_replicates_share():
    base = TrialSpec.from_dict(SPEC).configuration_id
    assert TrialSpec.from_dict(changed(seed=99, evaluate_test=False)).configuration_id == base
    assert TrialSpec.from_dict(changed(selection="loss")).configuration_id != base


def test_makes_method_and_problem_as_specified():
    spec = TrialSpec.from_dict(SPEC)
    assert dict(spec.make_method().settings()["weights"]) == {"CL": 0.5, "RR": 1.5}
    assert spec.make_problem().settings()["tasks"] == "CL_RR"
    assert spec.make_method() is not spec.make_method()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sed": 1}, UnknownNameError, r"no key 'sed' \(did you mean 'seed'\?\); valid: problem"),
        ({"problem": "digits"}, UnknownNameError, "no problem 'digits'"),
        ({"problem": {"options": {}}}, ConfigurationError, "needs a problem with a name"),
        (
            {"problem": {"name": "multi_digits", "tasks": "CL"}},
            UnknownNameError,
            "valid: name, options",
        ),
        ({"method": "lsx"}, UnknownNameError, "no method 'lsx'"),
        (
            {"method": {"name": "ls", "hyperparameters": {"alpha": 1}}},
            UnknownNameError,
            "'alpha'",
        ),
        ({"training": {"learning_rate": 1}}, UnknownNameError, "training has no key"),
        ({"training": {"lr": -1.0}}, ConfigurationError, "training: lr = -1.0 is not valid"),
        ({"training": {"lr": float("nan")}}, ConfigurationError, "lr = nan"),
        ({"training": {"lr": float("inf")}}, ConfigurationError, "lr = inf"),
        ({"training": {"epochs": 0}}, ConfigurationError, "epochs = 0"),
        ({"training": {"epochs": 1.5}}, ConfigurationError, "an integer >= 1"),
        ({"training": {"optimizer": "lion"}}, ConfigurationError, "'adam', 'adamw', 'sgd'"),
        ({"training": {"dropout": 1.0}}, ConfigurationError, "dropout = 1.0"),
        ({"training": {"clip_grad_norm": 0.0}}, ConfigurationError, "clip_grad_norm = 0.0"),
        ({"training": {"schedule": {"name": "warm"}}}, UnknownNameError, "no schedule 'warm'"),
        (
            {"training": {"schedule": {"name": "step", "gama": 0.5}}},
            UnknownNameError,
            "did you mean 'gamma'",
        ),
        ({"training": {"schedule": {"gamma": 0.5}}}, ConfigurationError, "mapping with a name"),
        ({"seed": -1}, ConfigurationError, "seed = -1"),
        ({"seed": True}, ConfigurationError, "seed = True"),
        ({"evaluate_test": 1}, ConfigurationError, "evaluate_test = 1"),
        ({"selection": "best"}, UnknownNameError, "valid: delta_mtm, delta_m, loss"),
        ({"reference": {"CL": {"accuracy": 0.9}}}, ReferenceMetricError, "'mse' of task 'RR'"),
        (
            {"reference": {"CL": {"accuracy": 0.9}, "RR": {"mse": 0}}},
            ReferenceMetricError,
            "RR.mse is 0",
        ),
        (
            {"reference": {"CL": {"accuracy": 0.9}, "RR": {"mse": 0.1}, "CR": {}}},
            ReferenceMetricError,
            "names the task 'CR'; valid: CL, RR",
        ),
        ({"reference": {"CL": 0.9}}, ConfigurationError, "must map each task to its metrics"),
        ({"reference": {"CL": {"accuracy": "high"}}}, ConfigurationError, "not a number"),
    ],
)
def test_mistakes_are_named(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        TrialSpec.from_dict(changed(**changes))
    assert "\n" not in str(caught.value)


def test_canonical_json_refuses_what_json_does_not_know():
    assert canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


def test_training_settings_round_trip():
    settings = TrainingSettings.from_dict({"schedule": {"name": "cosine"}})
    assert TrainingSettings.from_dict(settings.to_dict()).to_dict() == settings.to_dict()
